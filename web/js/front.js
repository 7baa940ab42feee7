// The plot on the calibration nodes: how near to the uncached picture each speed of a file is. A click sets the dial.
import { BY_SPEED } from "./dial.js"
import { say } from "./words.js"
import { FRONT_STYLE } from "./style.js"
import { passWheelOn } from "./widget.js"

const HEIGHT = { shown: 222, empty: 1 }
const SPEED_TICKS = [1, 1.5, 2, 3, 4, 6, 8]
const MOVES = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }
const LABELS = { fewer: "after", middle: "before" }
// A label needs room at its right.
const FASTEST_LABELLED = 0.9
const MARKS = { middle: "measured", fewer: "fewer" }
// Decibels between two lines, and the least that the plot spans.
const GRID = 10
const LEAST_SPAN = 12

export class FrontPlot {
  /** What to do with the dial's value of a point that was chosen; answers whether it could be set. */
  onchoose = null
  /** What to do with a wheel event over the plot. */
  onwheel = null
  #points = []
  #about = ""
  #levels = {}
  #wish = {}
  #active = -1
  #parts

  constructor() {
    this.element = document.createElement("div")
    const root = this.element.attachShadow({ mode: "open" })
    root.innerHTML = `<style>${FRONT_STYLE}</style>
            <div class="plot" role="listbox" tabindex="0">
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><polyline /></svg>
        <div class="marks" aria-hidden="true"></div>
        <div class="points" role="presentation"></div>
      </div>
      <div class="speeds" aria-hidden="true"></div>
      <div class="words"><div class="summary"></div><div class="detail"></div></div>
      <div class="spoken" role="status"></div>`
    const names = ["plot", "marks", "points", "speeds", "summary", "detail", "spoken"]
    this.#parts = Object.fromEntries(names.map((name) => [name, root.querySelector(`.${name}`)]))
    this.#parts.line = root.querySelector("polyline")
    this.#parts.plot.setAttribute("aria-label", say("front"))
    this.#parts.plot.setAttribute("aria-description", say("choose"))
    this.#listen(this.#parts.plot)
    this.show({})
  }

  /** The height in pixels that the widget asks for. */
  get height() {
    return this.#points.length ? HEIGHT.shown : HEIGHT.empty
  }

  /** Show a front as the server gives it; without one the step map says why. */
  show(answer) {
    this.#points = answer.points ?? []
    this.#active = -1
    this.#levels = answer.levels ?? {}
    this.#about = this.#points.length ? say("about", answer) : ""
    this.element.hidden = !this.#points.length
    this.#draw()
  }

  /** Mark the point that a node's widgets mean: by its dial, or by an error that is named or given in decibels. */
  mark(wish) {
    if (["speedup", "by", "decibels"].every((name) => wish[name] === this.#wish[name])) return
    this.#wish = wish
    this.#drawChosen()
  }

  get #chosen() {
    const { speedup, by, decibels } = this.#wish
    if (!by || by === BY_SPEED) return this.#points.findLastIndex((point) => point.from <= speedup)
    const level = this.#levels[by] ?? decibels
    return this.#points.findLastIndex((point) => point.said >= level)
  }

  #draw() {
    const scale = scaleOf(this.#points)
    const { line, points, marks, speeds, plot } = this.#parts
    line.setAttribute("points", this.#points.map((point) => scale.at(point.speedup, point.middle).join(",")).join(" "))
    points.replaceChildren(...this.#points.map((point, i) => pointOf(point, i, scale)))
    marks.replaceChildren(
      ...scale.levels.map((level) => placed(tick(`${level} dB`), [0, scale.y(level)])),
      ...this.#points.flatMap((point) => marksOf(point, scale)),
      ...labelsOf(this.#points, scale),
      better()
    )
    speeds.replaceChildren(...scale.speeds.map((speed) => placed(tick(`${speed}x`), [scale.x(speed), 0])))
    plot.removeAttribute("aria-activedescendant")
    this.#drawChosen()
  }

  #drawChosen() {
    const chosen = this.#chosen
    for (const [i, point] of [...this.#parts.points.children].entries()) {
      point.setAttribute("aria-selected", String(i === chosen))
    }
    this.#showDetail()
  }

  #listen(plot) {
    passWheelOn(this)
    plot.addEventListener("pointermove", (event) => this.#activate(this.#nearest(event)))
    plot.addEventListener("pointerleave", () => this.#activate(-1))
    plot.addEventListener("blur", () => this.#activate(-1))
    plot.addEventListener("focus", () => this.#activate(Math.max(this.#active, this.#chosen)))
    // A hand that moves a little over the plot must not drag the node.
    plot.addEventListener("pointerdown", (event) => event.stopPropagation())
    plot.addEventListener("click", (event) => this.#choose(this.#nearest(event)))
    plot.addEventListener("keydown", (event) => this.#press(event))
  }

  #press(event) {
    const last = this.#points.length - 1
    const to = { Home: 0, End: last }[event.key] ?? (event.key in MOVES ? this.#active + MOVES[event.key] : null)
    const chooses = event.key === "Enter" || event.key === " "
    if (to === null && !chooses) return
    // The canvas has its own use for these keys.
    event.preventDefault()
    event.stopPropagation()
    if (chooses) this.#choose(this.#active)
    else this.#activate(Math.min(Math.max(to, 0), last))
  }

  /** The point whose speed is nearest to the pointer. */
  #nearest(event) {
    const distances = [...this.#parts.points.children].map((point) => {
      const box = point.getBoundingClientRect()
      return Math.abs(box.x + box.width / 2 - event.clientX)
    })
    return distances.indexOf(Math.min(...distances))
  }

  #choose(index) {
    const point = this.#points[index]
    if (!point) return
    const done = this.onchoose?.(point.dial)
    this.#parts.spoken.textContent = done ? say("set", { dial: point.dial.toFixed(1) }) : say("linked")
    if (done) this.mark({ ...this.#wish, speedup: point.dial, by: BY_SPEED })
    else this.#parts.detail.textContent = say("linked")
  }

  #activate(index) {
    this.#active = index
    const { plot, points } = this.#parts
    for (const [i, point] of [...points.children].entries()) point.toggleAttribute("data-active", i === index)
    if (points.children[index]) plot.setAttribute("aria-activedescendant", points.children[index].id)
    else plot.removeAttribute("aria-activedescendant")
    this.#showDetail()
  }

  #showDetail() {
    const point = this.#points[this.#active]
    const chosen = this.#points[this.#chosen]
    this.#parts.summary.textContent = [this.#about, chosen && pointWords(chosen)].filter(Boolean).join("\n")
    this.#parts.detail.textContent = point ? pointWords(point) : ""
    this.#parts.summary.hidden = Boolean(point)
  }
}

/** Where speeds and levels lie, in percent of the plot; speeds are on a logarithmic axis. */
function scaleOf(points) {
  const shown = points.flatMap((point) => [point.low, point.high, point.fewer]).filter(Number.isFinite)
  const [low, high] = shown.length ? [Math.min(...shown), Math.max(...shown)] : [20, 40]
  const span = Math.max(high - low, LEAST_SPAN)
  const fastest = Math.max(2, ...points.map((point) => point.speedup))
  const x = (speed) => 6 + (90 * Math.log(speed)) / Math.log(fastest)
  const y = (level) => 8 + (80 * (high - level)) / span
  const lines = Array.from({ length: 12 }, (_, i) => GRID * i)
  return {
    x,
    y,
    at: (speed, level) => [x(speed), y(level)],
    speeds: SPEED_TICKS.filter((speed) => speed <= fastest),
    levels: lines.filter((level) => level >= high - span && level <= high)
  }
}

function pointOf(point, index, scale) {
  const element = placed(document.createElement("span"), scale.at(point.speedup, point.middle))
  element.id = `point-${index}`
  element.dataset.kind = "middle"
  element.setAttribute("role", "option")
  element.setAttribute("aria-label", pointWords(point))
  return element
}

/** From what nine of ten pictures reach to what one of ten does, and plain runs of fewer steps. */
function marksOf(point, scale) {
  const spread = placed(mark("spread"), scale.at(point.speedup, point.high))
  spread.style.height = `${scale.y(point.low) - scale.y(point.high)}%`
  return point.fewer === null ? [spread] : [spread, placed(mark("fewer"), scale.at(point.speedup, point.fewer))]
}

function placed(element, [left, top]) {
  element.style.left = `${left}%`
  element.style.top = `${top}%`
  return element
}

function mark(kind) {
  const element = document.createElement("i")
  element.dataset.kind = kind
  return element
}

function tick(text) {
  const element = document.createElement("b")
  element.textContent = text
  return element
}

/** The name of each kind of mark, beside one of them, on sides where the others are not. */
function labelsOf(points, scale) {
  return Object.entries(LABELS).flatMap(([kind, side]) => {
    const known = points.filter((one) => one[kind] !== null)
    const roomy = known.filter((one) => one.speedup < FASTEST_LABELLED * points.at(-1).speedup)
    const point = side === "after" ? roomy.at(-1) : known[1]
    if (!point) return []
    const label = placed(tick(say(MARKS[kind])), scale.at(point.speedup, point[kind]))
    label.dataset.side = side
    return [label]
  })
}

/** The arrow to where schedules are fast and like the full run. */
function better() {
  const element = tick(`${say("better")} \u2197`)
  element.className = "better"
  return element
}

function pointWords(point) {
  const rounded = (name) => (point[name] === null ? null : Math.round(point[name]))
  const values = { said: rounded("middle"), worst: rounded("worst"), low: rounded("low"), fewer: rounded("fewer") }
  const told = [`${point.speedup.toFixed(2)}x: ${say("pointSaid", values)}`, say("pointSpread", values)]
  return [...told, ...(point.fewer === null ? [] : [say("pointFewer", values)])].join(", ")
}
