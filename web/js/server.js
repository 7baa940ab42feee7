// Asks the pack's part of the server; without a connection the answers are empty, and a reconnection asks again.

const PLANS_KEPT = 64

export class Server {
  #api
  #plans = new Map()
  #asked = new Set()

  constructor(api) {
    this.#api = api
  }

  /** The plan for settings, given as JSON. */
  async plan(settings) {
    if (this.#plans.has(settings)) return this.#plans.get(settings)
    const asked = this.post("/frdiff/plan", JSON.parse(settings))
    this.#asked.add(asked)
    const answer = await asked
    this.#asked.delete(asked)
    // Nothing is known when the server did not answer.
    if (answer.error !== "") this.#plans.set(settings, answer)
    if (this.#plans.size > PLANS_KEPT) this.#plans.delete(this.#plans.keys().next().value)
    return answer
  }

  /** Wait for the plans that were asked for. */
  async planned() {
    await Promise.all(this.#asked)
  }

  /** A schedule file has changed, and with it what is planned from it. */
  forgetPlans() {
    this.#plans.clear()
  }

  /** The newest run of each node that this page queued. */
  async runs() {
    return (await this.#json(`/frdiff/runs?${this.#query()}`)) ?? []
  }

  /** Versions, and the newest reports of a workflow. */
  async support(workflow) {
    return (await this.#json(`/frdiff/support?${this.#query({ workflow })}`)) ?? {}
  }

  async post(route, body) {
    const headers = { "Content-Type": "application/json" }
    return (await this.#json(route, { method: "POST", headers, body: JSON.stringify(body) })) ?? { error: "" }
  }

  async #json(route, options) {
    try {
      return await (await this.#api.fetchApi(route, options)).json()
    } catch {
      return null
    }
  }

  #query(more = {}) {
    return new URLSearchParams({ client: this.#api.clientId ?? "", ...more })
  }
}
