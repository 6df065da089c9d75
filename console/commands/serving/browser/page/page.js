"use strict";
// Beside textual-serve's own script: it begins once the font is there, and says why a console has ended.
const begin = window.onload;
window.onload = async (event) => {
  const late = new Promise((resolve) => setTimeout(resolve, 3000));
  await Promise.race([document.fonts.load('16px "Roboto Mono"'), late]);
  begin(event);
  document.querySelector("#terminal textarea")?.focus();
};

async function ended() {
  const number = document.querySelector("#terminal").dataset.sessionWebsocketUrl.split("/").pop();
  const said = document.querySelector("#said");
  try {
    const answer = await fetch("/ended/" + number);
    said.textContent = await answer.text();
  } catch {
    said.textContent = "motley serve does not answer: it has ended, or the connection to its machine has. The run goes on.";
  }
  document.querySelector("#again").focus();
}

const watch = new MutationObserver(() => {
  if (document.body.classList.contains("-closed")) {
    watch.disconnect();
    ended();
  }
});
watch.observe(document.body, { attributes: true, attributeFilter: ["class"] });
document.querySelector("#again").addEventListener("click", () => window.location.reload());
