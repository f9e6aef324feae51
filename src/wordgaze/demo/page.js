// Runs in Gradio's HTML component, which gives `element`, `props` and `watch`. The report goes into a frame: its own
// style and policy hold in there, and what is downloaded is what is seen.
const stage = element.querySelector(".stage"), empty = element.querySelector(".empty");
const error = element.querySelector("[role=alert]"), save = element.querySelector("button");

// Both sides need it: a frame is only see-through where its scheme is that of its page.
const follow = frame => {
  const scheme = document.body.classList.contains("dark") ? "dark" : "light";
  for (const side of [frame, frame.contentDocument.documentElement]) side.style.colorScheme = scheme;
};
new MutationObserver(() => stage.querySelectorAll("iframe").forEach(follow))
  .observe(document.body, { attributeFilter: ["class"] });

// Until the first value, which is the example's, the page says that the model is looking.
const CHOOSE = "Choose a photo: its caption appears here, with a map for each word.";

watch("value", () => {
  empty.textContent = CHOOSE;
  const { report, message } = props.value;
  error.textContent = message;
  error.hidden = !message;
  save.hidden = !report;
  empty.hidden = Boolean(report || message);
  const before = [...stage.querySelectorAll("iframe")];
  if (!report) {
    before.forEach(frame => frame.remove());
    return;
  }
  // The new one takes the place of the old when it is ready, so that the page neither flashes nor jumps.
  const frame = document.createElement("iframe");
  frame.title = "What each word looked at";
  frame.className = "coming";
  frame.addEventListener("load", () => {
    follow(frame);
    before.forEach(old => old.remove());
    frame.classList.remove("coming");
  });
  frame.srcdoc = report;
  stage.append(frame);
});

save.addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([props.value.report], { type: "text/html" }));
  link.download = `${props.value.name}.html`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});
