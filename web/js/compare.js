// Two results under one slider: drag, keys or touch; or their difference, made brighter; frames play.
import { say } from "./words.js"
import { COMPARE_STYLE } from "./results_style.js"
import { passWheelOn } from "./widget.js"

const HEIGHT = { shown: 400, empty: 1 }
const WIDTH = 360
const MS_PER_FRAME = 1000 / 12
const HALF = 50

export class ComparePanel {
  /** What to do with a wheel event over the pictures. */
  onwheel = null
  #shown = null
  #urlOf
  #parts
  #frame = 0
  #timer = null

  /** `urlOf` makes an address of what the server says of a file. */
  constructor(urlOf) {
    this.#urlOf = urlOf
    this.element = document.createElement("div")
    const root = this.element.attachShadow({ mode: "open" })
    root.innerHTML = `<style>${COMPARE_STYLE}</style>
      <div class="stage"><div class="frame">
        <div class="layers"><img class="a" draggable="false"><img class="b" draggable="false"></div>
        <div class="divider" aria-hidden="true"></div>
        <span class="name left" aria-hidden="true">A</span><span class="name right" aria-hidden="true">B</span>
        <input class="split" type="range" min="0" max="100" step="0.5" value="${HALF}">
      </div></div>
      <div class="film"><button class="play" type="button"></button>
        <input class="turn" type="range" min="0" step="1" value="0"><output></output></div>
      <div class="bar"><button class="difference" type="button" aria-pressed="false"></button>
        <a class="badge"></a></div>
      <div class="figures" role="status"></div>`
    const names = ["frame", "layers", "a", "b", "split", "film", "play", "turn", "difference", "badge", "figures"]
    this.#parts = Object.fromEntries(names.map((name) => [name, root.querySelector(`.${name}`)]))
    this.#parts.count = root.querySelector("output")
    this.#parts.split.setAttribute("aria-label", say("slider"))
    this.#parts.turn.setAttribute("aria-label", say("frame"))
    this.#parts.a.alt = say("imageA")
    this.#parts.b.alt = say("imageB")
    this.#listen()
    this.show(null)
  }

  /** The width in pixels that the node should have. */
  get width() {
    return WIDTH
  }

  /** The height in pixels that the widget asks for. */
  get height() {
    return this.#shown ? HEIGHT.shown : HEIGHT.empty
  }

  /** Show a comparison as the server gives it; null shows nothing. */
  show(shown) {
    this.#stop()
    this.#shown = shown
    this.element.hidden = !shown
    if (!shown) return
    const { frame, film, turn, figures, badge } = this.#parts
    const [width, height] = shown.size
    frame.style.setProperty("--ratio", String(width / height))
    frame.toggleAttribute("data-small", Math.max(width, height) <= 128)
    film.hidden = shown.frames.length < 2
    turn.max = String(shown.frames.length - 1)
    figures.textContent = shown.words
    badge.href = this.#urlOf(shown.badge)
    // Under the name that the server gives it.
    badge.download = ""
    badge.textContent = say("badge")
    this.amplify(shown.amplify)
    this.#turnTo(Math.min(this.#frame, shown.frames.length - 1))
  }

  /** How many times brighter the difference is drawn; the node's own widget sets it, at once. */
  amplify(factor) {
    this.#parts.layers.style.setProperty("--amplify", String(factor))
    this.#parts.difference.textContent = say("difference", { factor: Number(factor.toPrecision(3)) })
  }

  #listen() {
    passWheelOn(this)
    const { split, turn, play, difference, frame } = this.#parts
    split.addEventListener("input", () => this.#split())
    split.addEventListener("dblclick", () => {
      split.value = String(HALF)
      this.#split()
    })
    turn.addEventListener("input", () => this.#turnTo(Number(turn.value)))
    play.addEventListener("click", () => (this.#timer === null ? this.#play() : this.#stop()))
    difference.addEventListener("click", () => {
      const on = frame.toggleAttribute("data-difference")
      difference.setAttribute("aria-pressed", String(on))
    })
    // A hand on the pictures must not drag the node, and keys that move the slider not the nodes.
    for (const kind of ["pointerdown", "mousedown", "touchstart", "keydown"]) {
      this.element.addEventListener(kind, (event) => event.stopPropagation())
    }
    this.#split()
    this.#sayPlay()
  }

  #split() {
    const { split, frame } = this.#parts
    frame.style.setProperty("--split", `${split.value}%`)
    split.setAttribute("aria-valuetext", say("parts", { a: Math.round(split.value), b: Math.round(100 - split.value) }))
  }

  #turnTo(index) {
    this.#frame = index
    const { a, b, turn, count } = this.#parts
    turn.value = String(index)
    a.src = this.#urlOf(this.#shown.a[index])
    b.src = this.#urlOf(this.#shown.b[index])
    const words = say("frameOf", { frame: this.#shown.frames[index] + 1, total: this.#shown.total })
    count.textContent = words
    turn.setAttribute("aria-valuetext", words)
  }

  #play() {
    // Each picture is there before it is its turn, so that the two sides never show different frames.
    const files = [...this.#shown.a, ...this.#shown.b].map((file) => this.#urlOf(file))
    const loaded = files.map((url) => Object.assign(new Image(), { src: url }).decode().catch(() => {}))
    const timer = (this.#timer = setInterval(() => {
      if (!this.element.isConnected) this.#stop()
      else if (ready) this.#turnTo((this.#frame + 1) % this.#shown.frames.length)
    }, MS_PER_FRAME))
    let ready = false
    void Promise.all(loaded).then(() => (ready = timer === this.#timer))
    this.#sayPlay()
  }

  #stop() {
    clearInterval(this.#timer)
    this.#timer = null
    this.#sayPlay()
  }

  #sayPlay() {
    const { play } = this.#parts
    play.textContent = this.#timer === null ? "\u25b6" : "\u23f8"
    play.setAttribute("aria-label", say(this.#timer === null ? "play" : "pause"))
  }
}
