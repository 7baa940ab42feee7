// What the pack offers in menus, in the toolbox of a selection and on the keyboard.
import { canBeFaster, canBePlain, makeFaster, makePlain } from "./convert.js"
import { nodesOf } from "./links.js"
import { rootOf } from "./runs.js"
import { copyText, supportText } from "./support.js"
import { say } from "./words.js"

const FASTER = { can: canBeFaster, make: makeFaster, nothing: "nothingToMakeFaster" }
const PLAIN = { can: canBePlain, make: makePlain, nothing: "nothingToMakePlain" }
const IDS = { faster: "FRDiff.MakeFaster", plain: "FRDiff.MakePlain", report: "FRDiff.CopyReport" }
const TOAST_MS = 5000
const MS_TO_SETTLE = 500

/** Commands with their keys and places in the menu, as an extension of the frontend has them. */
export function commandsOf(app, server) {
  const faster = (nodes) => change(app, server, FASTER, nodes)
  const plain = (nodes) => change(app, server, PLAIN, nodes)
  const commands = [
    { id: IDS.faster, icon: "pi pi-bolt", word: "makeFaster", run: () => faster(selected(app)) },
    { id: IDS.plain, icon: "pi pi-undo", word: "makePlain", run: () => plain(selected(app)) },
    { id: `${IDS.faster}All`, icon: "pi pi-forward", word: "allFaster", run: () => faster(all(app)) },
    { id: `${IDS.plain}All`, icon: "pi pi-replay", word: "allPlain", run: () => plain(all(app)) },
    { id: IDS.report, icon: "pi pi-copy", word: "copyReport", run: () => copyReport(app, server) }
  ]
  const key = (name, commandId) => ({ commandId, combo: { key: name, alt: true, shift: true } })
  return {
    commands: commands.map(({ id, icon, word, run }) => ({ id, icon, label: () => say(word), function: run })),
    keybindings: [
      key("f", IDS.faster), key("p", IDS.plain), key("a", `${IDS.faster}All`), key("o", `${IDS.plain}All`)
    ],
    menuCommands: [{ path: ["FRDiff"], commands: commands.map(({ id }) => id) }]
  }
}

/** The entries of a node's menu, for all that is selected with it. */
export function menuItems(app, server, node, hasReport) {
  const nodes = [...new Set([node, ...selected(app)])]
  return [
    canBeFaster(nodes) ? { content: say("makeFaster"), callback: () => change(app, server, FASTER, nodes) } : null,
    canBePlain(nodes) ? { content: say("makePlain"), callback: () => change(app, server, PLAIN, nodes) } : null,
    hasReport ? { content: say("copyReport"), callback: () => copyReport(app, server) } : null
  ].filter(Boolean)
}

/** The commands that the toolbox above a selected node shows. */
export function toolbox(node, hasReport) {
  if (!node?.type) return []
  return [
    canBeFaster([node]) ? IDS.faster : null, canBePlain([node]) ? IDS.plain : null, hasReport ? IDS.report : null
  ].filter(Boolean)
}

function selected(app) {
  return Object.values(app.canvas.selected_nodes ?? {})
}

function all(app) {
  return nodesOf(rootOf(app))
}

/** Change nodes, as one step that can be undone. */
function change(app, server, { can, make, nothing }, nodes) {
  if (!can(nodes)) return tell(app, "info", nothing)
  const { canvas } = app
  canvas.emitBeforeChange?.()
  try {
    const made = make(nodes)
    const here = made.filter((node) => node.graph === canvas.graph)
    if (here.length) canvas.selectItems?.(here)
  } finally {
    canvas.setDirty(true, true)
    setTimeout(() => settle(canvas, server), MS_TO_SETTLE)
  }
}

/** New nodes grow when they are drawn and planned, which is not to be a step of its own. */
async function settle(canvas, server) {
  await server.planned()
  setTimeout(() => canvas.emitAfterChange?.())
}

async function copyReport(app, server) {
  const done = await copyText(await supportText(app, server), app.canvas.canvas.parentElement)
  tell(app, done ? "success" : "error", done ? "copied" : "notCopied")
}

function tell(app, severity, word) {
  app.extensionManager?.toast?.add({ severity, summary: "FRDiff", detail: say(word), life: TOAST_MS })
}
