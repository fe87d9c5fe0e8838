// Runs before the first paint: a remembered choice must not flash.
(() => {
  let choice = null;
  try {
    choice = localStorage.getItem("fire-theme");
  } catch {
    // Storage is off: follow the system.
  }
  if (choice === "dark" || choice === "light") {
    document.documentElement.dataset.theme = choice;
  }
})();
