// Before the first paint: the theme that was chosen here, or the system's.
(function () {
  let chosen = null;
  try { chosen = localStorage.getItem("spanloom-theme"); } catch (error) { /* storage is switched off */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
