// What the server has told about runs, and which node each belongs to.

export class Runs {
  #runs = new Map()

  /** Add an event to its run and return the run as it stands now. */
  add(event) {
    const key = `${event.workflow} ${event.node}`
    const before = this.#runs.get(key)
    const same = before?.run === event.run
    const run = same ? { ...before, ...event, cells: { ...before.cells, ...event.cells } } : { ...event }
    run.steps = run.report?.steps ?? run.planned?.length ?? 0
    this.#runs.set(key, run)
    return run
  }

  /** The cells of the parts that are sampled before and after a run: as they ran, else as they are planned. */
  around(run) {
    const { before = [], after = [] } = run
    const others = this.#others(run)
    const known = (cell, place) => others.map((one) => cellAt(one, place)).find(Boolean) ?? cell
    const next = before.length + run.steps
    return { before: before.map(known), after: after.map((cell, i) => known(cell, next + i)) }
  }

  /** The runs that are parts of the same, the newest first. */
  #others(run) {
    const others = run.whole ? [...this.#runs.values()].filter((one) => one !== run && one.whole === run.whole) : []
    return others.sort((one, other) => other.run - one.run)
  }

  /** The runs, each with the cells around it, that a run is beside. */
  beside(run) {
    return this.#others(run).map((one) => [one, this.around(one)])
  }

  /** Drop the runs of a workflow. */
  forget(workflow) {
    for (const [key, run] of this.#runs) if (run.workflow === workflow) this.#runs.delete(key)
  }

  find(matches) {
    return [...this.#runs.values()].reverse().find(matches)
  }
}

/** A cell of a run by its place in the whole that the run is a part of, if it is there. */
function cellAt(run, place) {
  return run.cells[place - (run.before ?? []).length]
}

/** The open workflow's graph, whichever of its subgraphs is shown. */
export function rootOf(app) {
  return app.rootGraph ?? app.graph?.rootGraph ?? app.graph
}

/** The node of the open workflow that a run belongs to; in a subgraph its id is a path of ids. */
export function nodeOf(app, run) {
  let graph = rootOf(app)
  if (!graph || (run.workflow && graph.id && run.workflow !== graph.id)) return null
  let node = null
  for (const id of String(run.node).split(":")) {
    node = graph?.getNodeById(Number(id)) ?? graph?.getNodeById(id)
    graph = node?.subgraph
  }
  return node ?? null
}

/** What a node's last run gave to show; in a subgraph the frontend keeps it under the graph's id as well. */
export function outputOf(app, node) {
  const inside = node.graph !== rootOf(app)
  return app.nodeOutputs?.[inside ? `${node.graph.id}:${node.id}` : String(node.id)]
}
