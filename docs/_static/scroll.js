// Code and tables that are wider than the page can be scrolled with the keyboard.
window.addEventListener("load", () => {
  for (const box of document.querySelectorAll("pre, .table-wrapper, div.math")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
});
