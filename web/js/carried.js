// Reports that travel in pictures and videos: found in a file of any kind, by the words they begin with.

// The server writes them so, and in no file are they compressed.
const MARK = '{"frdiff_report"'
const BYTES_AT_ONCE = 1 << 22
const LONGEST = 1 << 21
const KINDS = ["full", "partial", "skip"]

/** The runs that a file carries, by node; none where there is no report in it. */
export async function runsIn(file) {
  const at = await placeOf(file)
  if (at === null) return []
  const text = jsonAt(await file.slice(at, at + LONGEST).text())
  try {
    return Object.values(JSON.parse(text).runs).filter(isRun)
  } catch {
    // Cut off, or not what it seemed to be.
    return []
  }
}

/** Where the report begins. Files may be long: they are read in pieces, which overlap by the mark's length. */
async function placeOf(file) {
  for (let start = 0; start < file.size; start += BYTES_AT_ONCE) {
    const bytes = await file.slice(start, start + BYTES_AT_ONCE + MARK.length).arrayBuffer()
    const found = new TextDecoder("latin1").decode(bytes).indexOf(MARK)
    if (found >= 0) return start + found
  }
  return null
}

/** The JSON object that a text begins with. */
function jsonAt(text) {
  let depth = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\" && quoted) i++
    else if (text[i] === '"') quoted = !quoted
    else if (!quoted && text[i] === "{") depth++
    else if (!quoted && text[i] === "}" && --depth === 0) return text.slice(0, i + 1)
  }
  return ""
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
