// A box that is moved sideways can be moved by keys, too.
const reachable = () => {
  for (const box of document.querySelectorAll(".cell_output, figure, pre, div.math, .pst-scrollable-table-container")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("load", reachable);
addEventListener("resize", reachable);
