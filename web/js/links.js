// Follows links to the nodes at their other ends, through reroutes and the borders of subgraphs.

/** Whether an end of a link is a border of its subgraph; some frontends write ids as text. */
export const isBorder = { input: (id) => Number(id) === -10, output: (id) => Number(id) === -20 }

/** A link of a graph by its id, in every frontend's way of keeping them. */
export function linkOf(graph, id) {
  return id == null ? null : (graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id] ?? null)
}

/** Whether an input comes from another node and not from its widget. */
export function isLinked(node, name) {
  return inputOf(node, name)?.link != null
}

/** The node that an input comes from, null where none is connected. */
export function sourceOf(node, name) {
  return originOf(node, inputOf(node, name))?.node ?? null
}

/** The nodes that a node's outputs lead to. */
export function targetsOf(node) {
  return (node.outputs ?? []).flatMap((output) => endsOf(node.graph, output.links))
}

/** A widget's value as a run gets it: undefined where its input comes from a node that makes it while it runs. */
export function valueOf(node, widget) {
  const input = node.inputs?.find((one) => one.widget?.name === widget.name)
  const origin = originOf(node, input)
  return (origin ? origin.widget : widget)?.value
}

/** All nodes of a workflow, those in its subgraphs once each. */
export function nodesOf(graph, seen = new Set()) {
  if (!graph || seen.has(graph)) return []
  seen.add(graph)
  return graph.nodes.flatMap((node) => [node, ...nodesOf(node.subgraph, seen)])
}

function inputOf(node, name) {
  return node.inputs?.find((input) => input.name === name)
}

/** What an input comes from: a node, and the widget that holds the value if it is known before a run. */
function originOf(node, input) {
  const link = linkOf(node.graph, input?.link)
  if (!link) return null
  if (!isBorder.input(link.origin_id)) return originAt(node.graph, link)
  const holder = holderOf(node.graph)
  const outer = holder?.inputs[link.origin_slot]
  const promoted = outer?.widget && holder.widgets?.find((widget) => widget.name === outer.widget.name)
  return outer ? (originOf(holder, outer) ?? { node: null, widget: promoted }) : null
}

function originAt(graph, link) {
  const source = link && graph.getNodeById(link.origin_id)
  if (!source) return null
  // A node that only passes a link on has one input.
  if (source.type === "Reroute") return originOf(source, source.inputs[0])
  const inside = source.subgraph
  if (inside) return originAt(inside, linkOf(inside, inside.outputs[link.origin_slot]?.linkIds[0]))
  return { node: source, widget: source.widgets?.find((widget) => widget.name === "value") }
}

/** The nodes at the ends of links that have these ids. */
function endsOf(graph, ids) {
  const links = (ids ?? []).map((id) => linkOf(graph, id)).filter(Boolean)
  return links.flatMap(({ target_id: id, target_slot: slot }) => {
    const holder = isBorder.output(id) ? holderOf(graph) : null
    if (holder) return endsOf(holder.graph, holder.outputs[slot]?.links)
    const target = graph.getNodeById(id)
    if (target?.subgraph) return endsOf(target.subgraph, target.subgraph.inputs[slot]?.linkIds)
    return target ? [target] : []
  })
}

/** The first node of the workflow that stands for a subgraph. */
function holderOf(subgraph) {
  return nodesOf(subgraph.rootGraph).find((node) => node.subgraph === subgraph) ?? null
}
