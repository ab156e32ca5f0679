// Asks the floating chat of any page and prints the answer.
//   usage: ask_widget.js URL QUESTION

import { ask, button, launchBrowser } from "./site.js";

const [url, question] = process.argv.slice(2);
const browser = await launchBrowser();
try {
  const page = await browser.newPage({ locale: "en-US" });
  await page.goto(url);
  await button(page, "Open chat").click();
  console.log(await ask(page, question));
} finally {
  await browser.close();
}
