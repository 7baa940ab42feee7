// Words by which people look for a faster sampler, where the node search and the library find it.
import { say } from "./words.js"

const SAMPLER = "FRDiffKSampler"
// Some frontends search names alone, and only their first 30 characters. Where a name begins with the word it is first,
// before names like EasyCache that have it in them: the word that others have in their names, too, is the first one.
// Others name nodes by the translation, which is the title on the canvas as well: there the words are aliases alone.
const IN_NAME = 3

/** Add the words to the definition that search and library use; on the canvas the node keeps its short name. */
export function addAliases(definitions) {
  const place = definitions.findIndex((definition) => definition.name === SAMPLER)
  if (place < 0) return
  const definition = definitions[place]
  const words = say("aliases").split(", ")
  const [first, ...others] = words.slice(0, IN_NAME)
  const begin = [first[0].toUpperCase() + first.slice(1), ...others].join(", ")
  definitions[place] = {
    ...definition,
    display_name: `${begin}: ${definition.display_name}`,
    search_aliases: [...new Set([...(definition.search_aliases ?? []), ...words])]
  }
}
