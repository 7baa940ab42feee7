// How long a run goes on and what it saved: a bar and a line that follow time, not steps.
import { say } from "./words.js"

const MS_PER_LOOK = 1000

export class Pace {
  #bar
  #line
  #ends = null
  #timer = null

  constructor(bar, line) {
    this.#bar = bar
    this.#line = line
    this.#bar.setAttribute("aria-label", say("progress"))
  }

  /** Show a run as the server tells of it: what is left of it, or what it took. */
  show({ state, left, passed, report, plain_seconds: plain }) {
    if (state === "running") return left == null ? this.clear() : this.#begin(passed, left)
    this.clear()
    // A run that was stopped has no time to compare.
    const saved = state === "done" && plain > report.seconds && secondsWords(plain) !== secondsWords(report.seconds)
    this.#line.textContent = saved
      ? say("insteadOf", { seconds: secondsWords(report.seconds), plain: secondsWords(plain) })
      : ""
  }

  clear() {
    clearInterval(this.#timer)
    this.#timer = this.#ends = null
    this.#bar.removeAttribute("data-shown")
    this.#line.textContent = ""
  }

  /** From what has passed, move to the end in the time that is left. */
  #begin(passed, left) {
    this.#ends = performance.now() + left * 1000
    const done = (100 * passed) / (passed + left)
    const { style } = this.#bar.firstElementChild
    style.transition = "none"
    style.width = `${done}%`
    // The browser has to have drawn where it begins.
    void this.#bar.offsetWidth
    style.transition = `width ${left}s linear`
    style.width = "100%"
    this.#bar.setAttribute("data-shown", "")
    this.#bar.setAttribute("aria-valuenow", Math.round(done))
    this.#tell()
    this.#timer ??= setInterval(() => this.#tell(), MS_PER_LOOK)
  }

  #tell() {
    const left = Math.ceil((this.#ends - performance.now()) / 1000)
    this.#line.textContent = left > 0 ? say("timeLeft", { seconds: left }) : ""
    if (left > 0) return
    // A step takes longer than those before it, or the node is gone: until the next news nobody knows.
    clearInterval(this.#timer)
    this.#timer = null
  }
}

/** Seconds with as many digits as matter: 0.43, 12.1, 238. */
function secondsWords(seconds) {
  return seconds.toFixed(seconds < 1 ? 2 : seconds < 100 ? 1 : 0)
}
