// Reports that travel: the server puts them into the workflow that pictures and videos are saved with.

const NAME = "frdiff"
const KINDS = ["full", "partial", "skip"]

/** Take the runs out of a workflow that is about to be opened, so that it is not saved with them again. */
export function takeRuns(workflow) {
  const carried = workflow?.extra?.[NAME]
  if (carried === undefined) return []
  delete workflow.extra[NAME]
  const runs = Object.values(carried?.runs ?? {}).filter(isRun)
  return runs.map((run) => ({ ...run, carried: true }))
}

/** Whether something from a stranger's file is what a step map can show. */
function isRun(run) {
  const cells = Object.values(run?.cells ?? {})
  const isCell = (cell) => Number.isInteger(cell?.step) && KINDS.includes(cell.kind) && Number.isFinite(cell.sigma)
  const counts = run?.report?.counts
  return (
    ["done", "stopped"].includes(run?.state) &&
    [cells, run.before ?? [], run.after ?? []].every((each) => Array.isArray(each) && each.every(isCell)) &&
    KINDS.every((kind) => Number.isInteger(counts?.[kind])) &&
    typeof run.report.line === "string" &&
    Number.isFinite(run.report.bytes_kept)
  )
}
