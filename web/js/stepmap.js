// One step map: a row of cells in a shadow root, with the same in words.
import { say } from "./words.js"
import { Pace } from "./pace.js"
import { STYLE } from "./style.js"

const CELLS_PER_ROW = 25
const CELLS_AT_MOST = 240
const ROW_HEIGHT = 15
const WORDS_HEIGHT = 76
// Of the words, which are two lines or as many as the server's sentences need.
const LINE_HEIGHT = 14.5
const CHARACTERS_PER_LINE = 44
const [FEWEST_LINES, LINES_AT_MOST] = [2, 8]
const FILLED = { full: 1, partial: 0.5, skip: 0 }
const MOVES = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: CELLS_PER_ROW, ArrowUp: -CELLS_PER_ROW }

export class StepMap {
  /** What to do with a wheel event over the map. */
  onwheel = null
  #plan = []
  #run = null
  // The cells of the parts before and after, where one run is sampled in several.
  #around = { before: [], after: [] }
  #groups = []
  #active = -1
  #parts
  #pace

  constructor() {
    this.element = document.createElement("div")
    const root = this.element.attachShadow({ mode: "open" })
    root.innerHTML = `<style>${STYLE}</style>
      <div class="cells" role="listbox" tabindex="0"></div>
      <div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"><i></i></div>
      <div class="time"></div>
      <div class="words"><div class="summary"></div><div class="detail"></div></div>
      <div class="spoken" role="status"></div>`
    const at = (name) => root.querySelector(`.${name}`)
    const names = ["summary", "cells", "detail", "spoken", "time", "words"]
    this.#parts = Object.fromEntries(names.map((name) => [name, at(name)]))
    this.#parts.cells.setAttribute("aria-label", say("title"))
    this.#pace = new Pace(at("bar"), at("time"))
    this.#listen(this.#parts.cells)
  }

  /** The height in pixels that the widget asks for. */
  get height() {
    const rows = Math.max(Math.ceil(this.#groups.length / CELLS_PER_ROW), 1)
    return rows * ROW_HEIGHT + WORDS_HEIGHT + Math.round((this.#lines - FEWEST_LINES) * LINE_HEIGHT)
  }

  get #lines() {
    const needed = Math.ceil(this.#parts.summary.textContent.length / CHARACTERS_PER_LINE)
    return Math.min(Math.max(needed, FEWEST_LINES), LINES_AT_MOST)
  }

  showPlan(answer, example) {
    this.#begin(answer.cells ?? [], answer)
    this.#say(answer.error === undefined ? planWords(answer, example, this.#joined()) : answer.error || say("noPlan"))
  }

  /** Show that nothing runs here, and why. */
  showIdle(why) {
    this.#begin([])
    this.#say(why)
  }

  /** Show a run, and the cells of the parts `before` and `after` it as far as they are known. */
  showRun(run, around = {}) {
    this.#run = run
    this.#pace.show(run)
    if (run.planned) this.#plan = run.planned
    this.#showRun(around)
    if (run.state === "running") return
    const { time, summary, spoken } = this.#parts
    spoken.textContent = [time.textContent, summary.textContent].filter(Boolean).join(", ")
  }

  /** Show what has become known of the parts around a run, if that is what is shown. */
  showAround(run, around) {
    if (this.#run?.run === run.run) this.#showRun(around)
  }

  #showRun(around) {
    this.#surround(around)
    this.#draw()
    this.#say(runWords(this.#run, this.#own(), this.#joined()))
  }

  #surround({ before = [], after = [] }) {
    this.#around = { before, after }
  }

  #begin(plan, around = {}) {
    this.#run = null
    this.#surround(around)
    this.#plan = plan
    this.#pace.clear()
    this.#draw()
  }

  #say(text) {
    this.#parts.summary.textContent = text
    this.#parts.words.style.height = `${this.#lines * LINE_HEIGHT}px`
    this.#showDetail()
  }

  /** The cells of the whole run, numbered through all of its parts. */
  #cells() {
    const { before, after } = this.#around
    const other = (cell) => ({ ...cell, other: true })
    const all = [...before.map(other), ...this.#own(), ...after.map(other)]
    return all.map((cell, number) => ({ ...cell, number }))
  }

  /** How much is computed in all parts together, in words; null where there is but one. */
  #joined() {
    const cells = this.#cells()
    return cells.some((cell) => cell.other) ? say("inAll", countsOf(cells)) : null
  }

  /** What is known of each step: as it ran, or as it is planned. */
  #own() {
    const ran = this.#run?.cells ?? {}
    const total = Math.max(this.#plan.length, ...Object.keys(ran).map((step) => Number(step) + 1))
    return Array.from({ length: total }, (_, step) => ran[step] ?? this.#plan[step]).filter(Boolean)
  }

  #draw() {
    const cells = this.#cells()
    const size = Math.ceil(cells.length / CELLS_AT_MOST) || 1
    this.#groups = Array.from({ length: Math.ceil(cells.length / size) }, (_, i) => cells.slice(i * size, (i + 1) * size))
    const box = this.#parts.cells
    while (box.childElementCount > this.#groups.length) box.lastElementChild.remove()
    while (box.childElementCount < this.#groups.length) box.append(newCell(box.childElementCount))
    box.style.setProperty("--columns", Math.min(Math.max(this.#groups.length, 8), CELLS_PER_ROW))
    this.#groups.forEach((group, i) => this.#drawCell(box.children[i], group, cells.length))
  }

  #drawCell(element, group, total) {
    const filled = group.reduce((sum, cell) => sum + FILLED[cell.kind], 0) / group.length
    const first = group[0]
    const current = this.#run?.current
    element.style.setProperty("--filled", `${filled * 100}%`)
    element.dataset.kind = first.kind
    element.dataset.state = group.every((cell) => cell.evaluations) ? "done" : "planned"
    element.toggleAttribute("data-other", group.every((cell) => cell.other))
    element.toggleAttribute("data-now", current != null && group.some((cell) => !cell.other && cell.step === current))
    element.toggleAttribute("data-changed", group.some((cell) => cell.kind !== cell.planned))
    element.setAttribute("aria-label", cellWords(group, total))
  }

  #listen(box) {
    // Zooming goes on over the map: the canvas hears nothing of events on widgets.
    this.element.addEventListener("wheel", (event) => this.#passOn(event), { passive: false })
    box.addEventListener("pointermove", (event) => this.#activate([...box.children].indexOf(event.target)))
    box.addEventListener("pointerleave", () => this.#activate(-1))
    box.addEventListener("blur", () => this.#activate(-1))
    box.addEventListener("focus", () => this.#activate(Math.max(this.#active, 0)))
    box.addEventListener("keydown", (event) => {
      const last = this.#groups.length - 1
      const to = { Home: 0, End: last }[event.key] ?? (event.key in MOVES ? this.#active + MOVES[event.key] : null)
      if (to === null) return
      // The canvas has its own use for these keys.
      event.preventDefault()
      event.stopPropagation()
      this.#activate(Math.min(Math.max(to, 0), last))
    })
  }

  #passOn(event) {
    event.preventDefault()
    event.stopPropagation()
    this.onwheel?.(new WheelEvent(event.type, event))
  }

  #activate(index) {
    this.#active = index
    const box = this.#parts.cells
    for (const [i, cell] of [...box.children].entries()) cell.setAttribute("aria-selected", String(i === index))
    if (box.children[index]) box.setAttribute("aria-activedescendant", box.children[index].id)
    else box.removeAttribute("aria-activedescendant")
    this.#showDetail()
  }

  #showDetail() {
    const group = this.#groups[this.#active]
    this.#parts.detail.textContent = group ? cellWords(group, this.#cells().length) : ""
    this.#parts.summary.hidden = Boolean(group)
  }
}

function newCell(index) {
  const cell = document.createElement("span")
  cell.id = `step-${index}`
  cell.setAttribute("role", "option")
  cell.setAttribute("aria-selected", "false")
  return cell
}

function countsOf(cells) {
  const of = (kind) => cells.filter((cell) => cell.kind === kind).length
  return { total: cells.length, full: of("full"), partial: of("partial"), skip: of("skip") }
}

function totalOf(counts) {
  return counts.full + counts.partial + counts.skip
}

function planWords(answer, example, joined) {
  if (answer.off) return say("off")
  const total = totalOf(answer.counts)
  const counts = { ...answer.counts, total }
  return [
    // Some samplers evaluate more than once for a step, and may be planned so.
    `${say("planned")}: ${say(total === answer.cells.length ? "counts" : "evaluations", counts)}`,
    joined,
    counts.partial ? say("inPart", counts) : null,
    counts.skip ? say("skipped", counts) : null,
    example ? say("example", { total: answer.cells.length }) : null
  ]
    .filter(Boolean)
    .join(", ")
}

function runWords(run, cells, joined) {
  if (run.state === "running") {
    const at = { current: (run.current ?? 0) + 1, total: cells.length }
    return [say("running", at), ...kindWords(countsOf(cells.filter((cell) => cell.evaluations)))].join(", ")
  }
  if (run.state === "stopped") return stoppedWords(run, cells)
  const { counts, steps, speedup, bytes_kept: bytes, line } = run.report
  const total = totalOf(counts) + (run.report.answered_elsewhere ?? 0)
  // Nothing was reused: the server's own sentence says why.
  if (counts.full === total) return line
  return [
    say(total === steps ? "counts" : "evaluations", { ...counts, total }),
    joined,
    speedup >= 1.005 ? say("faster", { speedup: speedup.toFixed(2) }) : null,
    say("kept", { mb: (bytes / 1e6).toFixed(1) })
  ]
    .filter(Boolean)
    .join(", ")
}

/** How far a run came that was stopped. */
function stoppedWords(run, cells) {
  const { counts, steps, reasons, line } = run.report
  const step = Math.max(...cells.filter((cell) => cell.evaluations).map((cell) => cell.step + 1))
  // Before the first step, or where another cache does the work: the server's own sentence says so.
  if (!Number.isFinite(step) || reasons?.some((reason) => reason.code === "other-cache")) return line
  return [say("stopped", { step, total: steps }), ...kindWords(counts)].join(", ")
}

function kindWords(counts) {
  return [
    counts.full ? `${counts.full} ${say("full")}` : null,
    counts.partial ? say("inPart", counts) : null,
    counts.skip ? say("skipped", counts) : null
  ].filter(Boolean)
}

function cellWords(group, total) {
  const [cell, last] = [group[0], group[group.length - 1]]
  const place = { step: cell.number + 1, last: last.number + 1, total }
  if (group.length > 1) {
    const counts = countsOf(group)
    const kinds = ["full", "partial", "skip"].filter((kind) => counts[kind])
    return [say("steps", place), ...kinds.map((kind) => `${counts[kind]} ${say(kind)}`)].join(", ")
  }
  return [
    say("step", place),
    cell.other ? say("otherPart") : null,
    say(cell.kind),
    cell.kind === cell.planned ? null : say("changed", { planned: say(cell.planned) }),
    say("sigma", { sigma: Number(cell.sigma.toPrecision(3)) }),
    cell.ms ? timeWords(cell.ms) : null,
    cell.forecast_error == null ? null : say("error", { error: Number((cell.forecast_error * 100).toPrecision(2)) })
  ]
    .filter(Boolean)
    .join(", ")
}

function timeWords(ms) {
  return ms >= 1000 ? say("seconds", { seconds: (ms / 1000).toFixed(2) }) : say("ms", { ms: ms.toFixed(1) })
}
