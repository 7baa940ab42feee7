// What a node said in its last run, as text that can be selected.
import { say } from "./words.js"
import { TEXT_STYLE } from "./style.js"

const LINE_HEIGHT = 14
const LINES_AT_MOST = 16
const CHARACTERS_PER_LINE = 50
const NOTHING = 1

export class TextPanel {
  /** What to do with a wheel event over the text. */
  onwheel = null
  #text = ""
  #part

  constructor() {
    this.element = document.createElement("div")
    const root = this.element.attachShadow({ mode: "open" })
    root.innerHTML = `<style>${TEXT_STYLE}</style><div class="text" role="region" tabindex="0"></div>`
    this.#part = root.querySelector(".text")
    this.#part.setAttribute("aria-label", say("result"))
    // Selecting text must not drag the node.
    this.#part.addEventListener("pointerdown", (event) => event.stopPropagation())
    this.element.addEventListener("wheel", (event) => this.#passOn(event), { passive: false })
    this.show("")
  }

  /** The height in pixels that the widget asks for. */
  get height() {
    if (!this.#text) return NOTHING
    const rows = (line) => Math.ceil(line.length / CHARACTERS_PER_LINE) || 1
    const lines = this.#text.split("\n").reduce((sum, line) => sum + rows(line), 0)
    return Math.min(lines, LINES_AT_MOST) * LINE_HEIGHT + 8
  }

  show(text) {
    this.#text = text
    this.#part.textContent = text
    this.element.hidden = !text
  }

  #passOn(event) {
    event.stopPropagation()
    // What is longer than its place scrolls under the mouse.
    if (this.#part.scrollHeight > this.#part.clientHeight) return
    event.preventDefault()
    this.onwheel?.(new WheelEvent(event.type, event))
  }
}
