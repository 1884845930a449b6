// Without a choice of the reader the mode is that of the system; the theme calls an empty one an error.
document.documentElement.dataset.mode ||= "auto";

// A box that is moved sideways can be moved by keys, too. The theme does it for code.
const reachable = () => {
  for (const box of document.querySelectorAll(".cell_output, figure, div.math, .pst-scrollable-table-container")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("load", reachable);
addEventListener("resize", reachable);
