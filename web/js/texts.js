// Texts of the nodes in the user's language, for frontends that load a language after the packs' and lose these.
import { textsOf } from "./words.js"

/** Put the texts into a node's definition, as the server sent it, before its class is made from it. */
export function translateDefinition(type, definition) {
  const texts = textsOf(type)
  if (!texts) return
  definition.display_name = texts.display_name
  definition.description = texts.description
  for (const group of Object.values(definition.input ?? {})) {
    for (const [name, [, options]] of Object.entries(group)) {
      if (options && texts.inputs[name]) options.tooltip = texts.inputs[name].tooltip
    }
  }
  definition.output_tooltips = definition.output_tooltips?.map((tooltip, i) => texts.outputs[i]?.tooltip ?? tooltip)
}

/** Name the inputs, widgets and outputs of a new node that still have their English names. */
export function translateNode(node) {
  const texts = textsOf(node.comfyClass)
  if (!texts) return
  for (const input of node.inputs ?? []) name(input, "localized_name", texts.inputs[input.name])
  for (const widget of node.widgets ?? []) name(widget, "label", texts.inputs[widget.name])
  for (const [i, output] of (node.outputs ?? []).entries()) {
    // Those without a name of their own are named by their type, which the frontend translates.
    if (output.name !== output.type) name(output, "localized_name", texts.outputs[i])
  }
}

function name(part, field, text) {
  if (text && (part[field] ?? part.name) === part.name) part[field] = text.name
}
