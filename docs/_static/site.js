// What scrolls by itself is reached by the keyboard too.
addEventListener("DOMContentLoaded", () => {
  const mark = () => {
    for (const part of document.querySelectorAll(".highlight pre, .table-wrapper")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    }
  };
  mark();
  addEventListener("resize", mark);
});
