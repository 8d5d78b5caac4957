// The form, the tables and the charts. Numbers come from the page's JSON and from costs.js.
{
  const root = document.getElementById("kv-explorer");
  const find = (selector) => root.querySelector(selector);
  const data = JSON.parse(find("script.data").textContent);
  kvExplorer.data = data;
  const form = find("form").elements;

  // Words and numbers.
  const digits = (value, count) => value.toLocaleString("en", { maximumSignificantDigits: count });
  const whole = (value) => Math.round(value).toLocaleString("en");
  const bytes = (value) => {
    const [unit, size] = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6]].find(([, size]) => value >= size) ?? ["bytes", 1];
    return size > 1 ? `${digits(value / size, 4)} ${unit}` : `${whole(value)} bytes`;
  };
  const rate = (value) => (value >= 100 ? whole(value) : digits(value, 3));
  const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
  const limits = { memory: "reading memory", arithmetic: "arithmetic" };

  // Elements, of HTML or SVG.
  function element(name, attributes = {}, ...children) {
    const isSvg = ["svg", "rect", "line", "text", "path", "circle", "title"].includes(name);
    const namespace = isSvg ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
    const made = document.createElementNS(namespace, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  const row = (head, cells, attributes = {}) =>
    element("tr", attributes, element("th", { scope: "row" }, head), ...cells);
  const headRow = (sides, ...more) => {
    const titles = sides.map(({ model: { title, color } }) => {
      const style = `border-bottom: 4px solid ${color}`;
      return element("th", { scope: "col", style }, title.replaceAll("-", "\u2011"));
    });
    return element("tr", {}, element("td"), ...titles, ...more);
  };

  // Charts: drawn as wide as the page gives room, so that letters keep their size.
  function chart(name, height, label, draw) {
    const place = find(`[data-chart=${name}]`);
    const width = Math.max(260, place.clientWidth);
    const svg = element("svg", { width, height, role: "img", "aria-label": label });
    const text = (x, y, words, anchor = "start") =>
      svg.append(element("text", { x, y, "text-anchor": anchor }, words));
    draw(svg, text, width);
    place.replaceChildren(svg);
  }

  function drawMemory(sides, choice) {
    const label = sides.map(({ model, found }) => `${model.title}: ${bytes(found.total_bytes)}`).join("; ");
    chart("memory", 128, `${label}; memory: ${bytes(choice.memory)}`, (svg, text, width) => {
      const most = Math.max(choice.memory, ...sides.map(({ found }) => found.total_bytes));
      const x = (value) => (value / most) * (width - 4) + 2;
      sides.forEach(({ model, found }, index) => {
        const y = 52 * index;
        text(2, y + 13, `${model.title}: ${bytes(found.weight_bytes)} + ${bytes(found.kv_cache_bytes)}`);
        const bar = { y: y + 19, height: 20, fill: model.color, stroke: model.color };
        svg.append(
          element("rect", { ...bar, x: x(0), width: x(found.weight_bytes) - x(0), "fill-opacity": 0.5 }),
          element("rect", { ...bar, x: x(found.weight_bytes), width: x(found.total_bytes) - x(found.weight_bytes) }),
        );
      });
      const end = x(choice.memory);
      for (const [y1, y2] of [[16, 42], [68, 108]]) {
        svg.append(element("line", { x1: end, x2: end, y1, y2, class: "mark" }));
      }
      text(end, 122, `memory ${bytes(choice.memory)}`, end > width / 2 ? "end" : "start");
    });
  }

  function drawLayers(sides, choice) {
    const rows = sides.map(({ model }) => model.cache_bytes[choice.cache]);
    const most = Math.max(...rows.flat());
    const words = sides.map(({ model }, side) => {
      const [least, largest] = [Math.min(...rows[side]), Math.max(...rows[side])].map(whole);
      return `${model.title}: ${least === largest ? least : `${least} to ${largest}`} bytes in a layer`;
    });
    chart("layers", 2 * 132 + 14, words.join("; "), (svg, text, width) => {
      sides.forEach(({ model }, side) => {
        const floor = 132 * side + 118;
        const step = width / rows[side].length;
        text(2, floor - 105, words[side]);
        rows[side].forEach((value, layer) => {
          const height = Math.max(1, (80 * value) / most);
          const heads = model.kv_heads[layer];
          const bar = { x: layer * step + 1, y: floor - height, width: step - 2, height, fill: model.color };
          const hint = `layer ${layer}: ${plural(heads, "KV head")}, ${plural(value, "byte")} per token`;
          svg.append(element("rect", bar, element("title", {}, hint)));
          if (heads !== model.kv_heads[layer - 1]) {
            text(Math.max(4.5 * `${heads}`.length, (layer + 0.5) * step), floor - height - 4, heads, "middle");
          }
        });
        svg.append(element("line", { x1: 0, x2: width, y1: floor + 0.5, y2: floor + 0.5, class: "axis" }));
      });
      text(2, 2 * 132 + 4, "layer 0");
      text(width - 2, 2 * 132 + 4, `layer ${rows[1].length - 1}`, "end");
    });
  }

  // Round values from 0 up to `top`, at most five above 0.
  function ticks(top) {
    const power = 10 ** Math.floor(Math.log10(top / 5));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => top / step <= 5);
    return Array.from({ length: Math.floor(top / step) + 1 }, (_, index) => index * step);
  }

  function drawSpeed(sides, choice) {
    const words = ({ model, found }) => {
      if (!found.largest_batch) return `${model.title}: no row fits`;
      const most = rate(found.tokens_per_second_at_largest_batch);
      return `${model.title}: ${most} tokens/s at ${plural(found.largest_batch, "row")}`;
    };
    chart("speed", 250, sides.map(words).join("; "), (svg, text, width) => {
      const rows = Math.max(choice.batch, 2, ...sides.map(({ found }) => found.largest_batch));
      const top = Math.max(...sides.map(({ found }) => found.tokens_per_second_at_largest_batch));
      const scale = top ? ticks(top) : [];
      const left = 10 + 7.5 * Math.max(0, ...scale.map((value) => rate(value).length));
      const x = (batch) => left + 6 + (Math.log(batch) / Math.log(rows)) * (width - left - 14);
      const y = (value) => 222 - (150 * value) / top;
      for (const value of scale) {
        svg.append(element("line", { x1: left, x2: width, y1: y(value), y2: y(value), class: "grid" }));
        text(left - 6, y(value) + 4, rate(value), "end");
      }
      text(2, 54, "tokens/s");
      svg.append(element("line", { x1: left, x2: width, y1: 222.5, y2: 222.5, class: "axis" }));
      svg.append(element("line", { x1: x(choice.batch), x2: x(choice.batch), y1: 58, y2: 222, class: "mark" }));
      text(Math.min(Math.max(x(choice.batch), 96), width - 36), 54, plural(choice.batch, "row"), "middle");
      sides.forEach((side, index) => {
        const { model, found } = side;
        svg.append(element("rect", { x: 2, y: 20 * index + 5, width: 10, height: 10, fill: model.color }));
        text(18, 20 * index + 14, words(side));
        if (!found.largest_batch) return;
        const inner = data.steps.batch.filter((batch) => batch < found.largest_batch);
        const points = [...inner, found.largest_batch].map((batch) => `${x(batch)} ${y(found.rate(batch))}`);
        const end = { cx: x(found.largest_batch), cy: y(found.tokens_per_second_at_largest_batch), r: 5 };
        svg.append(element("path", { d: `M${points.join("L")}`, stroke: model.color, class: "curve" }));
        svg.append(element("circle", { ...end, fill: model.color }));
      });
      text(left, 240, "1 row");
      text(width - 2, 240, plural(rows, "row"), "end");
    });
  }

  // Tables.
  const share = (found) => `${found.limit}, ${whole(100 * found.limited_share)}\u00a0%`;
  const ifFitted = (value, found) => rate(value) + (found.fits ? "" : " if it fitted");
  const ratio = ([first, second]) => {
    if (typeof first !== "number" || !first || !second) return "";
    return second < first ? `1/${digits(first / second, 3)}` : digits(second / first, 3);
  };
  function quantities(choice) {
    const rows = plural(choice.batch, "row");
    const tokens = plural(choice.context, "token");
    return [
      ["weight_bytes", "Weights", bytes],
      ["kv_cache_bytes", `Cache of ${rows} of ${tokens}`, bytes],
      ["total_bytes", "Together", bytes],
      ["fits", `Fits ${bytes(choice.memory)}`, (value) => (value ? "yes" : "no")],
      ["kv_cache_bytes_per_token", "Cache per token", bytes],
      ["largest_batch", `Largest batch at ${tokens}`, whole],
      ["largest_context", `Largest context of ${rows}`, whole],
      ["decode_tokens_per_second", "Decode of all rows, tokens/s at most", ifFitted],
      ["limit", "Its limit, share of the time", (value, found) => share(found)],
      ["tokens_per_second_at_largest_batch", "Decode of the largest batch, tokens/s at most", (value) => (value ? rate(value) : "none")],
    ];
  }

  function fillNumbers(sides, choice) {
    find(".numbers thead").replaceChildren(headRow(sides, element("th", { scope: "col" }, "second / first")));
    const body = quantities(choice).map(([quantity, label, format]) => {
      const values = sides.map(({ found }) => found[quantity]);
      const cells = values.map((value, side) =>
        element("td", { "data-side": side, "data-value": value, class: value === false ? "over" : "" },
          format(value, sides[side].found)),
      );
      return row(label, [...cells, element("td", {}, ratio(values))], { "data-quantity": quantity });
    });
    find(".numbers tbody").replaceChildren(...body);
  }

  function fillTimes(sides) {
    find(".times thead").replaceChildren(headRow(sides));
    const body = sides[0].found.times.map(({ operation }, index) => {
      const times = sides.map(({ found }) => found.times[index]);
      const cells = times.map((time, side) =>
        element("td", { "data-side": side, "data-value": time.seconds, "data-limit": time.limit },
          `${digits(1e3 * time.seconds, 3)} ms, ${limits[time.limit]}`),
      );
      return row(operation, cells, { "data-operation": operation });
    });
    find(".times tbody").replaceChildren(...body);
  }

  function python(sides, choice, deviceName) {
    const weights = choice.weights === "published" ? "None" : `"${choice.weights}"`;
    const [batch, context, memory] = [choice.batch, choice.context, choice.memory];
    const rest = `${weights}, "${choice.cache}"`;
    return [
      "from minidecilm import costs, preset",
      "",
      `device = costs.device("${deviceName}")`,
      `for config in (${sides.map(({ model }) => model.python).join(", ")}):`,
      `    print(costs.weight_bytes(config, ${weights}))`,
      `    print(costs.kv_cache_bytes(config, ${batch}, ${context}, "${choice.cache}"))`,
      `    print(costs.largest_batch(config, ${memory}, ${context}, ${rest}))`,
      `    print(costs.largest_context(config, ${memory}, ${batch}, ${rest}))`,
      `    print(costs.decode_tokens_per_second(config, device, ${batch}, ${context}, ${rest}))`,
    ].join("\n");
  }

  function describe(sides, choice, device) {
    const said = sides.map(({ model, found }) => {
      const said = [`${model.title} needs ${bytes(found.total_bytes)} and ${found.fits ? "fits" : "does not fit"}`];
      const most = rate(found.decode_tokens_per_second);
      if (found.fits) said.push(`; at most ${most} tokens per second, limited by ${limits[found.limit]}`);
      const made = model.max_position_embeddings;
      if (choice.context > made) {
        said.push(`. ${plural(choice.context, "token")} are more than the ${whole(made)} it was made for`);
      }
      return `${said.join("")}.`;
    });
    const rows = `${plural(choice.batch, "row")} of ${plural(choice.context, "token")}`;
    const memory = choice.memory === device.memory_bytes ? "" : ` with ${bytes(choice.memory)} for them`;
    return `${rows} on ${device.title}${memory}. ${said.join(" ")}`;
  }

  function describeLimits(device, choice) {
    const dtypes = Object.entries(device.flops_per_second)
      .map(([dtype, flops]) => `${dtype} ${digits(flops / 1e12, 4)}`).join(", ");
    const sources = device.sources.flatMap(({ title, url, date }) => [
      " ", url ? element("a", { href: url }, title) : title, ` (${date}).`,
    ]);
    return [
      `${device.title}: reads ${digits(device.bytes_per_second / 1e9, 4)} GB/s; 10\u00b9\u00b2 operations per second, `,
      `by storage: ${dtypes}. From:`, ...sources,
    ];
  }

  // From the form to the page.
  function read() {
    for (const name of ["context", "batch", "memory"]) {
      const input = form[name];
      input.setAttribute("aria-invalid", !input.validity.valid);
      if (!input.validity.valid) throw new Error(`${input.labels[0].textContent}: ${input.validationMessage}`);
    }
    return {
      weights: form.weights.value,
      cache: form.cache.value,
      context: form.context.valueAsNumber,
      batch: form.batch.valueAsNumber,
      memory: Math.round(form.memory.valueAsNumber * 1e9),
    };
  }

  function update() {
    let choice;
    try {
      choice = read();
    } catch (problem) {
      find(".status").textContent = problem.message;
      find(".results").classList.add("stale");
      return;
    }
    find(".results").classList.remove("stale");
    const device = data.devices[form.device.value];
    const sides = [form.first, form.second].map((select) => {
      const model = data.models[select.value];
      return { model, found: kvExplorer.costs(model, device, choice) };
    });
    find(".status").textContent = describe(sides, choice, device);
    fillNumbers(sides, choice);
    drawMemory(sides, choice);
    drawLayers(sides, choice);
    drawSpeed(sides, choice);
    fillTimes(sides);
    find("pre code").textContent = python(sides, choice, form.device.value);
    find(".limits").replaceChildren(...describeLimits(device, choice));
  }

  // The form.
  function fill(select, names, title, chosen) {
    select.append(...names.map((name) => element("option", { value: name }, title(name))));
    select.value = chosen;
  }

  function couple(name, chosen) {
    const [slider, input, steps] = [find(`#kv-${name}-slider`), form[name], data.steps[name]];
    const place = (value) => {
      slider.value = steps.findLastIndex((step) => step <= value);
      slider.setAttribute("aria-valuetext", whole(value));
    };
    slider.max = steps.length - 1;
    input.max = steps.at(-1);
    input.value = chosen;
    place(chosen);
    slider.addEventListener("input", () => {
      input.value = steps[slider.value];
      slider.setAttribute("aria-valuetext", whole(steps[slider.value]));
    });
    input.addEventListener("input", () => input.validity.valid && place(input.valueAsNumber));
  }

  const published = (name) => (name === "published" ? "as published" : name);
  fill(form.first, Object.keys(data.models), (name) => data.models[name].title, "decilm-6b");
  fill(form.second, Object.keys(data.models), (name) => data.models[name].title, "llama-2-7b");
  fill(form.weights, data.weights, published, "published");
  fill(form.cache, data.caches, (name) => name, "bfloat16");
  fill(form.device, Object.keys(data.devices), (name) => data.devices[name].title, "a10");
  couple("context", 4096);
  couple("batch", 8);
  const takeMemory = () => (form.memory.value = data.devices[form.device.value].memory_bytes / 1e9);
  form.device.addEventListener("input", takeMemory);
  takeMemory();
  find("form").addEventListener("input", update);
  find("form").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("resize", update);
  update();
}
