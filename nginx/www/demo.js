// Before the first paint: the page's language, and whether it shows the whole page or the widget.
"use strict";
const isWidget = location.search === "?widget";
document.documentElement.lang = /^zh/i.test(navigator.language) ? "zh-CN" : "en";
document.documentElement.classList.toggle("floating", isWidget);
addEventListener("readystatechange", () => {
  if (document.readyState !== "interactive") return;
  // A page without the element gets the floating one.
  if (isWidget) document.querySelector("bailian-chat").remove();
  const line = document.getElementById("line");
  line.textContent = line.textContent.replace('"/', `"${location.origin}/`);
}, true);
