// The words of what the pack shows and offers: English here, other languages from the pack's locales.

const words = {
  planned: "planned",
  example: "example of {total} steps",
  counts: "{full} of {total} steps computed",
  inAll: "{full} of {total} in all parts",
  otherPart: "in another part",
  inPart: "{partial} in part",
  skipped: "{skip} skipped",
  running: "step {current} of {total}",
  faster: "{speedup}x faster",
  kept: "{mb} MB kept",
  stopped: "stopped at step {step} of {total}",
  evaluations: "{full} of {total} evaluations computed",
  off: "off: every step is computed",
  noPlan: "The server does not answer, so no plan can be shown.",
  title: "FRDiff steps",
  step: "step {step} of {total}",
  steps: "steps {step} to {last} of {total}",
  full: "computed",
  partial: "computed in part",
  skip: "skipped",
  sigma: "sigma {sigma}",
  ms: "{ms} ms",
  seconds: "{seconds} s",
  error: "forecast error {error} %",
  changed: "planned: {planned}",
  front: "FRDiff speed and quality",
  choose: "Choose a point with the arrow keys, and set the dial with Enter.",
  about: "{name}: {steps} steps, {sampler}, {scheduler}",
  measured: "measured",
  fewer: "fewer steps",
  pointSaid: "{said} dB, worst {worst}",
  pointSpread: "nine of ten above {low}",
  pointFewer: "fewer steps {fewer} dB",
  set: "dial set to {dial}",
  result: "FRDiff result",
  linked: "The dial is connected to another node.",
  slider: "Slide between A and B",
  parts: "{a} % A, {b} % B",
  imageA: "result A",
  imageB: "result B",
  difference: "difference x {factor}",
  badge: "save badge",
  frame: "frame",
  frameOf: "frame {frame} of {total}",
  play: "play",
  pause: "pause",
  run: "run",
  time: "time",
  speedup: "speed-up",
  computed: "computed",
  latentError: "error",
  ssim: "SSIM",
  better: "better",
  insteadOf: "{seconds} s instead of {plain} s",
  timeLeft: "about {seconds} s left",
  progress: "FRDiff progress",
  bypassed: "Bypassed: the model goes through as it is.",
  muted: "Muted: this node does not run.",
  aliases: "cache, speed, faster, accelerate, teacache",
  makeFaster: "Make it faster with FRDiff",
  makePlain: "Back to the plain sampler",
  allFaster: "Make all samplers faster with FRDiff",
  allPlain: "All samplers back to plain",
  nothingToMakeFaster: "There is no plain sampler here that FRDiff can make faster.",
  nothingToMakePlain: "There is no FRDiff sampler here.",
  copyReport: "Copy FRDiff report for a bug report",
  copied: "Copied: reports, versions and settings, without prompts and paths.",
  notCopied: "The browser does not allow copying here. Open ComfyUI as localhost or over https."
}

let told = {}
let language = () => "en"

/** Take the words of every language that the pack has; which one is used, the user chooses at any time. */
export async function loadWords(api, app) {
  language = () => app.extensionManager?.setting?.get?.("Comfy.Locale") ?? "en"
  try {
    told = await (await api.fetchApi("/i18n")).json()
  } catch {
    // English words are better than none.
  }
}

/** A word or sentence with its values filled in. */
export function say(name, values = {}) {
  const text = told[language()]?.frdiff?.[name] ?? words[name]
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key])
}

/** A node's texts in the user's language as in nodeDefs.json; null where the pack does not have them. */
export function textsOf(type) {
  return told[language()]?.nodeDefs?.[type] ?? null
}
