window.addEventListener("load", () => {
  const options = { expandResponses: "200,201", hideDownloadButtons: false, sortRequiredPropsFirst: true };
  Redoc.init("/openapi.json", options, document.getElementById("page"));
});
