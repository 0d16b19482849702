// What do the pages of the service do that HTML alone does not? They ask less while nobody looks.
"use strict";
(() => {
  const looked = "llmbench:looked";

  // A page in the background asks for nothing; when it is looked at again, it asks at once.
  document.addEventListener("htmx:before:request", (event) => {
    const source = event.target instanceof Element ? event.target : null;
    if (document.hidden && source !== null && source.matches("[data-live]")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) document.body.dispatchEvent(new CustomEvent(looked));
  });
})();
