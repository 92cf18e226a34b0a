(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figure-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = { displayModeBar: false, responsive: true, showTips: false };
  // Where fingers scroll the page, a drag must not zoom a plot.
  const dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";

  // Colours come as `var(--name)`: plotly draws with the values of the scheme at hand.
  const withColours = (value, style) => {
    if (typeof value === "string") {
      return value.startsWith("var(--") ? style.getPropertyValue(value.slice(4, -1)).trim() : value;
    }
    if (Array.isArray(value)) {
      return value.map((item) => withColours(item, style));
    }
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withColours(item, style)]));
    }
    return value;
  };

  const draw = async () => {
    const style = getComputedStyle(document.documentElement);
    for (const [key, figure] of Object.entries(figures)) {
      const { data, layout } = withColours(figure, style);
      await Plotly.react(`plot-${key}`, data, { ...layout, dragmode }, config);
      // Let the page answer between two plots.
      await new Promise((resolve) => setTimeout(resolve));
    }
    document.documentElement.dataset.drawn = dark.matches ? "dark" : "light";
  };

  dark.addEventListener("change", draw);
  draw();
})();
