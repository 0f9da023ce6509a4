(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    const text = { labelColor: of("--ink"), titleColor: of("--ink") };
    return {
      background: "transparent",
      title: { color: of("--ink") },
      style: { "group-title": { fill: of("--ink") } },
      axis: { ...text, gridColor: of("--line"), domainColor: of("--soft"), tickColor: of("--soft") },
      legend: text,
      header: text,
      view: { stroke: of("--line") },
    };
  };
  const draw = async (figure) => {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "begun";
    const given = JSON.parse(figure.querySelector("script").textContent);
    const wide = figure.classList.contains("chart");
    const shape = wide ? { width: "container", autosize: { type: "fit-x", contains: "padding" } } : {};
    const { config, ...rest } = given;
    const options = { renderer: "svg", config: colours(), actions: { export: true, source: false, compiled: false, editor: false } };
    try {
      await drawVega(figure.querySelector(".place"), { ...rest, ...shape }, options);
      figure.dataset.drawn = "done";
    } catch (error) {
      figure.dataset.drawn = "failed";
      figure.querySelector(".place").textContent = `This chart cannot be drawn: ${error.message}`;
    }
  };
  const figures = [...document.querySelectorAll("figure")];
  const watch = new IntersectionObserver((seen) => {
    for (const one of seen) if (one.isIntersecting) { watch.unobserve(one.target); draw(one.target); }
  }, { rootMargin: "600px" });
  figures.forEach((one) => watch.observe(one));
  dark.addEventListener("change", () => figures.forEach((one) => { if (one.dataset.drawn) { delete one.dataset.drawn; draw(one); } }));
  window.addEventListener("beforeprint", () => figures.forEach(draw));
  globalThis.drawAll = () => Promise.all(figures.map(draw));
})();
