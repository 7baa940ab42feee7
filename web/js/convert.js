// One click from the host's samplers to faster ones, and back: widgets, links and looks are kept.
import { isBorder, linkOf, sourceOf as nodeBehind, valueOf } from "./links.js"

const PATCHER = "FRDiffModelPatcher"
const FASTER = { KSampler: "FRDiffKSampler", KSamplerAdvanced: "FRDiffKSamplerAdvanced" }
const PLAIN = { FRDiffKSampler: "KSampler", FRDiffKSamplerAdvanced: "KSamplerAdvanced" }
// Samplers that take the patcher in front of their model; some have it from another node.
const PATCHED = {
  KSampler: modelInputs,
  KSamplerAdvanced: modelInputs,
  SamplerCustom: modelInputs,
  SamplerCustomAdvanced: guiderInputs
}
const GAP = 40

/** Whether any of these nodes can be made faster. */
export function canBeFaster(nodes) {
  return nodes.some((node) => fasterSteps(node).length > 0)
}

/** Whether any of these nodes has a plain sampler to go back to. */
export function canBePlain(nodes) {
  return nodes.some((node) => plainSteps(node).length > 0)
}

/** Make these nodes faster where they can be; the nodes that are new. */
export function makeFaster(nodes) {
  return nodes.flatMap((node) => fasterSteps(node).map((step) => step())).filter(Boolean)
}

/** Give these nodes' places back to the host's samplers; the nodes that are new. */
export function makePlain(nodes) {
  return nodes.flatMap((node) => plainSteps(node).map((step) => step())).filter(Boolean)
}

function fasterSteps(node) {
  // One that was taken out a moment ago.
  if (!node.graph) return []
  const places = PATCHED[node.type]?.(node) ?? []
  if (places.some(patcherAt)) return []
  if (node.type in FASTER) return [() => replace(node, FASTER[node.type])]
  return places.map((place) => () => putIn(place))
}

function plainSteps(node) {
  if (!node.graph) return []
  if (node.type in PLAIN) return [() => replace(node, PLAIN[node.type])]
  if (node.type === PATCHER) return [() => takeOut(node)]
  const places = PATCHED[node.type]?.(node) ?? []
  return places.filter(patcherAt).map((place) => () => takeFrom(place))
}

/** Where a node gets models from: inputs that are connected. */
function modelInputs(node) {
  const places = (node.inputs ?? []).map((input, slot) => ({ node, slot, input }))
  return places.filter(({ input }) => input.type === "MODEL" && input.link != null)
}

/** The same of the guider that a sampler gets. */
function guiderInputs(node) {
  const guider = node.inputs?.find((input) => input.type === "GUIDER")
  const source = guider && nodeBehind(node, guider.name)
  return source ? modelInputs(source) : []
}

function patcherAt({ node, input }) {
  const source = nodeBehind(node, input.name)
  return source?.type === PATCHER ? source : null
}

function putIn({ node: target, slot, input }) {
  const { graph } = target
  const source = sourceOf(graph, input.link)
  const patcher = LiteGraph.createNode(PATCHER)
  if (!patcher) return null
  patcher.pos = freePlace(graph, target, patcher.size)
  graph.add(patcher)
  source.connect(patcher, 0)
  patcher.connect(0, target, slot)
  return patcher
}

/** Give one place the model without the patcher, which stays where others have it too. */
function takeFrom(place) {
  const patcher = patcherAt(place)
  const { node, slot, input } = place
  // A moment ago it may have been taken out for another place.
  if (!patcher) return null
  const shared = patcher.outputs[0].links.length > 1 && linkOf(node.graph, input.link).origin_id === patcher.id
  if (!shared || patcher.graph !== node.graph) return takeOut(patcher)
  sourceOf(node.graph, patcher.inputs[0].link)?.connect(node, slot)
  return null
}

function takeOut(patcher) {
  const { graph } = patcher
  const source = sourceOf(graph, patcher.inputs[0].link)
  const targets = targetsOf(graph, patcher.outputs[0])
  graph.remove(patcher)
  for (const target of targets) if (source) target.connect(source)
  return null
}

function replace(old, type) {
  const { graph } = old
  const node = LiteGraph.createNode(type)
  if (!node) return null
  copyLooks(old, node)
  for (const widget of node.widgets ?? []) {
    const before = old.widgets?.find((one) => one.name === widget.name)
    // A primitive takes its value anew from what it is connected to.
    if (before) widget.value = valueOf(old, before) ?? before.value
  }
  const inputs = old.inputs.map((input) => [input.name, sourceOf(graph, input.link)])
  const outputs = old.outputs.map((output) => [output.name, targetsOf(graph, output)])
  graph.remove(old)
  // What stands on a subgraph's node is kept by the id of the inner one.
  node.id = old.id
  graph.add(node)
  for (const [name, source] of inputs) {
    const slot = node.inputs.findIndex((input) => input.name === name)
    if (source && slot >= 0) source.connect(node, slot)
  }
  for (const [name, targets] of outputs) {
    const slot = node.outputs.findIndex((output) => output.name === name)
    for (const target of slot >= 0 ? targets : []) target.connect(sourceAt(graph, node, slot, target.reroute))
  }
  return node
}

function copyLooks(old, node) {
  node.pos = [...old.pos]
  node.size = [Math.max(old.size[0], node.size[0]), node.size[1]]
  for (const field of ["mode", "color", "bgcolor", "shape"]) if (old[field] !== undefined) node[field] = old[field]
  node.flags = { ...old.flags }
  if (old.title !== old.constructor.title) node.title = old.title
}

/** Where a link comes from, as something that a node's input can be connected to. */
function sourceOf(graph, id) {
  const link = linkOf(graph, id)
  if (!link) return null
  if (isBorder.input(link.origin_id)) {
    const border = graph.inputs[link.origin_slot]
    return { connect: (node, slot) => border.connect(node.inputs[slot], node, link.parentId) }
  }
  return sourceAt(graph, graph.getNodeById(link.origin_id), link.origin_slot, link.parentId)
}

function sourceAt(graph, source, place, reroute) {
  return {
    connect: (node, slot) => source.connect(place, node, slot, reroute),
    connectOut: (output) => graph.outputs[output].connect(source.outputs[place], source, reroute)
  }
}

/** What an output leads to, as something that can be connected to another source. */
function targetsOf(graph, output) {
  const links = (output.links ?? []).map((id) => linkOf(graph, id)).filter(Boolean)
  return links.map(({ target_id: id, target_slot: slot, parentId: reroute }) => ({
    reroute,
    connect: (source) => (isBorder.output(id) ? source.connectOut(slot) : source.connect(graph.getNodeById(id), slot))
  }))
}

/** The first place above a node that no other node takes. */
function freePlace(graph, target, size) {
  const [x, y] = target.pos
  for (let top = y - size[1] - 2 * GAP; ; top -= GAP) {
    if (!graph.nodes.some((node) => overlaps(node, x, top, size))) return [x, top]
  }
}

function overlaps({ pos, size }, x, y, [width, height]) {
  const apart = pos[0] > x + width + GAP || pos[0] + size[0] + GAP < x
  return !apart && !(pos[1] - GAP > y + height || pos[1] + size[1] + GAP < y)
}
