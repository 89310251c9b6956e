import { openData } from "./data.js";

async function start() {
  const data = await openData();
  const manifest = await data.manifest();
  document.body.textContent = manifest.tokens.map((token) => token.label).join(" ");
}

start();
