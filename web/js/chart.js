// The plot that the server has drawn of a run or of a sweep, in the page's colours, and the table below it.
import { say } from "./words.js"
import { CHART_STYLE } from "./results_style.js"
import { passWheelOn } from "./widget.js"

const ROW_HEIGHT = 17
const ROWS_AT_MOST = 14
const WIDTH = 420
const NOTHING = 1
const COLUMNS = {
  run: (row) => row.run,
  time: (row) => timeOf(row),
  speedup: (row) => `${row.speedup.toFixed(2)}x`,
  computed: (row) => (row.computed === null ? "-" : String(Number(row.computed.toPrecision(3)))),
  latentError: (row) => `${Number((row.latent_error * 100).toPrecision(2))} %`,
  ssim: (row) => row.ssim.toFixed(3)
}

export class ChartPanel {
  /** What to do with a wheel event over the plot. */
  onwheel = null
  #ratio = 0
  #rows = 0
  #parts

  constructor() {
    this.element = document.createElement("div")
    const root = this.element.attachShadow({ mode: "open" })
    root.innerHTML = `<style>${CHART_STYLE}</style><div class="plot"></div><div class="rows"></div>`
    this.#parts = { plot: root.querySelector(".plot"), rows: root.querySelector(".rows") }
    passWheelOn(this)
    // Selecting text must not drag the node.
    this.#parts.rows.addEventListener("pointerdown", (event) => event.stopPropagation())
    this.show("", [])
  }

  /** The width in pixels that the node should have. */
  get width() {
    return WIDTH
  }

  /** The height in pixels that the widget asks for. */
  get height() {
    const table = this.#rows ? (Math.min(this.#rows, ROWS_AT_MOST) + 1) * ROW_HEIGHT + 10 : 0
    return this.#ratio ? Math.round((WIDTH - 20) * this.#ratio) + table : NOTHING
  }

  /** Show a plot as SVG, and the rows of a table as the server gives them. */
  show(source, rows) {
    const svg = source ? new DOMParser().parseFromString(source, "image/svg+xml").documentElement : null
    const [, , width, height] = (svg?.getAttribute("viewBox") ?? "0 0 1 0").split(" ").map(Number)
    this.#ratio = height / width
    this.#rows = rows.length
    this.element.hidden = !svg
    this.#parts.plot.replaceChildren(...(svg ? [svg] : []))
    this.#parts.rows.replaceChildren(...(rows.length ? [tableOf(rows)] : []))
  }
}

function tableOf(rows) {
  const table = document.createElement("table")
  const values = rows.map((row) => Object.values(COLUMNS).map((of) => of(row)))
  const lines = [Object.keys(COLUMNS).map((name) => say(name)), ...values]
  lines.forEach((cells, i) => {
    const line = table.insertRow()
    cells.forEach((words, j) => {
      const cell = document.createElement(i && j ? "td" : "th")
      cell.scope = i ? "row" : "col"
      cell.textContent = words
      line.append(cell)
    })
  })
  return table
}

function timeOf(row) {
  const digits = row.seconds < 10 ? 2 : row.seconds < 100 ? 1 : 0
  const seconds = (value) => value.toFixed(digits)
  const spread = row.seconds_least === null ? "" : ` (${seconds(row.seconds_least)}-${seconds(row.seconds_most)})`
  return `${seconds(row.seconds)} s${spread}`
}
