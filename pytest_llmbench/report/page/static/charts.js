// Draws the charts of a page: each element with data-chart="ID" gets the chart of that id.
//
// The charts stand as JSON in the page's <script type="application/json" id="charts-data">:
// {"palette": ..., "charts": [...]}, as report/charts/palette.py and model.py write them. Nothing here makes HTML
// of a text, evaluates one, or needs an inline style, so it works under a strict content security policy.
(() => {
  'use strict';

  const SVG = 'http://www.w3.org/2000/svg';
  const KINDS = { value: 'value', log: 'log', category: 'category', time: 'time' };
  const PRINT_WIDTH = 700;
  // More points than these are drawn as a line without marks.
  const MOST_MARKS = 150;
  const drawn = new Map();

  // --- How a number is written --------------------------------------------------------------

  const number = (value) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return '-';
    if (value === 0) return '0';
    const size = Math.floor(Math.log10(Math.abs(value)));
    if (size >= 15 || size < -9) return value.toExponential(2);
    return value.toLocaleString('en-US', {
      minimumFractionDigits: 0,
      maximumFractionDigits: Math.min(Math.max(2 - size, 0), 12),
    });
  };
  const scaled = (axis, value) =>
    value === null || axis.kind === 'category' ? value : axis.kind === 'time' ? value * 1000 : value * axis.scale.factor;
  const time = (value) => `${new Date(value).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
  const said = (axis, value) => {
    if (value === null || value === undefined) return '-';
    if (axis.kind === 'category') return axis.categories[value] ?? String(value);
    if (axis.kind === 'time') return time(value);
    return axis.scale.unit ? `${number(value)} ${axis.scale.unit}` : number(value);
  };
  const titled = (axis) => (axis.scale?.unit ? `${axis.label} (${axis.scale.unit})` : axis.label);
  const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

  // --- Colors and marks ---------------------------------------------------------------------

  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  };
  const looks = (palette, dark) => ({
    ...(dark ? palette.dark : palette.light),
    marks: palette.marks,
    heat: palette.heat,
    text: dark ? '#e6e8ee' : '#1b1f27',
    soft: dark ? '#a9b0be' : '#565d6b',
    grid: dark ? '#2c313b' : '#e4e7ec',
  });
  const colorOf = (look, series) =>
    series.role === 'own' ? look.colors[series.color % look.colors.length] : (look.roles[series.role] ?? look.roles.own);
  const markOf = (look, series) => look.marks[series.color % look.marks.length];

  // --- A series -----------------------------------------------------------------------------

  const whiskers = (look, series, place, count) => (_, api) => {
    const [x, middle, low, high] = [0, 1, 2, 3].map((dimension) => api.value(dimension));
    const across = series.across;
    const at = (value) => (across ? api.coord([value, x]) : api.coord([x, value]));
    const along = across ? 1 : 0;
    const size = api.size([1, 1])[along];
    const step = Math.min(size / (count + 1), 14);
    const offset = (place - (count - 1) / 2) * step;
    const moved = (point) => (across ? [point[0], point[1] + offset] : [point[0] + offset, point[1]]);
    const stroke = { stroke: colorOf(look, series), lineWidth: 2, fill: 'none' };
    const children = [];
    const known = (value) => value !== null && !Number.isNaN(value);
    const ends = [known(low) ? low : middle, known(high) ? high : middle].map((value) => moved(at(value)));
    const line = (from, to) => ({
      type: 'line',
      shape: { x1: from[0], y1: from[1], x2: to[0], y2: to[1] },
      style: stroke,
    });
    if (known(low) || known(high)) children.push(line(...ends));
    [low, high].forEach((value, index) => {
      if (!known(value)) return;
      const [px, py] = ends[index];
      children.push(across ? line([px, py - 5], [px, py + 5]) : line([px - 5, py], [px + 5, py]));
    });
    const [cx, cy] = moved(at(middle));
    children.push({ type: 'circle', shape: { cx, cy, r: 4.5 }, style: { fill: colorOf(look, series) } });
    return { type: 'group', children };
  };

  const points = (chart, series) => {
    const { x, y, z } = chart;
    if (series.shape === 'heat') {
      return series.points.map((p) => ({ value: [p[0], p[1], p[2] === null ? '-' : scaled(z, p[2])] }));
    }
    return series.points.map((p) => {
      const one = [scaled(x, p[0]), ...p.slice(1).map((value) => scaled(y, value))];
      if (series.shape === 'interval') return { value: one };
      return { value: chart.across ? [one[1], one[0]] : one };
    });
  };

  const seriesOption = (chart, look, series, intervals) => {
    const color = colorOf(look, series);
    const data = points(chart, series);
    const option = { name: series.name, data, animation: false, itemStyle: { color } };
    const line = { color, width: 2, type: series.style };
    switch (series.shape) {
      case 'line':
      case 'step':
        return {
          ...option,
          type: 'line',
          step: series.shape === 'step' ? 'end' : false,
          lineStyle: line,
          symbol: data.length > MOST_MARKS ? 'none' : markOf(look, series),
          symbolSize: series.shape === 'step' ? 3 : 7,
          showAllSymbol: true,
          connectNulls: false,
          triggerLineEvent: true,
          emphasis: { focus: 'series', lineStyle: { width: 3 } },
          blur: { lineStyle: { opacity: 0.25 }, itemStyle: { opacity: 0.25 } },
        };
      case 'scatter':
        return { ...option, type: 'scatter', symbol: markOf(look, series), symbolSize: data.length > 400 ? 4 : 9 };
      case 'bar':
        return { ...option, type: 'bar', barMaxWidth: 32, itemStyle: { color, borderRadius: 2 } };
      case 'interval': {
        const place = intervals.indexOf(series);
        const turned = { ...series, across: chart.across };
        return {
          ...option,
          type: 'custom',
          clip: true,
          encode: chart.across ? { x: [1, 2, 3], y: 0 } : { x: 0, y: [1, 2, 3] },
          renderItem: whiskers(look, turned, place, intervals.length),
        };
      }
      case 'heat':
        return {
          ...option,
          type: 'heatmap',
          itemStyle: { borderColor: look.background, borderWidth: 1 },
          label: {
            show: data.length <= 60,
            formatter: (item) => number(item.value[2]),
            // Each color of the scale has its own contrast; a rim of the other makes both readable.
            color: '#1b1f27',
            textBorderColor: '#ffffff',
            textBorderWidth: 2,
          },
        };
      default:
        throw new Error(`there is no shape ${series.shape}`);
    }
  };

  // --- The picture --------------------------------------------------------------------------

  // A line of the chart that lies outside of the data would not be seen.
  const reach = (chart, which, pick) => {
    const axis = chart[which];
    const marked = chart.lines.filter((line) => line.axis === which).map((line) => scaled(axis, line.value));
    return marked.length && axis.kind !== 'category' ? (extent) => pick(extent[pick === Math.min ? 'min' : 'max'], ...marked) : undefined;
  };

  const axisOption = (chart, which, look, narrow) => {
    const axis = chart[which];
    const down = chart.across ? which === 'x' : which === 'y';
    const category = axis.kind === 'category';
    const most = narrow ? 14 : down ? 34 : 24;
    return {
      type: KINDS[axis.kind],
      name: titled(axis),
      nameLocation: down ? 'end' : 'middle',
      nameGap: down ? 12 : 30,
      nameTextStyle: { color: look.soft, fontSize: 12, align: down ? 'left' : 'center' },
      inverse: down && chart.across,
      data: category ? axis.categories : undefined,
      scale: axis.kind === 'value' ? !chart.series.some((series) => series.shape === 'bar') : undefined,
      min: reach(chart, which, Math.min),
      max: reach(chart, which, Math.max),
      axisLine: { show: !down, lineStyle: { color: look.soft } },
      axisTick: { show: false },
      axisLabel: {
        color: look.soft,
        fontSize: 12,
        hideOverlap: true,
        interval: category && down ? 0 : undefined,
        rotate: category && !down && axis.categories.some((name) => name.length > 8) && axis.categories.length > 4 ? 30 : 0,
        formatter: category ? (name) => cut(name, most) : axis.kind === 'time' ? undefined : number,
      },
      splitLine: { show: down !== Boolean(chart.across) && !category, lineStyle: { color: look.grid } },
    };
  };

  const marks = (chart, look) => {
    const place = (one) => {
      const down = chart.across ? one.axis === 'x' : one.axis === 'y';
      return down ? 'yAxis' : 'xAxis';
    };
    const roleColor = (one) => look.roles[one.role] ?? look.roles.own;
    const option = {};
    if (chart.bands.length) {
      option.markArea = {
        silent: true,
        data: chart.bands.map((band) => [
          {
            name: band.label,
            [place(band)]: scaled(chart[band.axis], band.start),
            itemStyle: { color: roleColor(band), opacity: 0.22 },
            label: { show: false },
          },
          { [place(band)]: scaled(chart[band.axis], band.end) },
        ]),
      };
    }
    if (chart.lines.length) {
      option.markLine = {
        silent: true,
        symbol: 'none',
        data: chart.lines.map((line) => ({
          name: line.label,
          [place(line)]: scaled(chart[line.axis], line.value),
          lineStyle: { color: roleColor(line), type: 'dashed', width: 1.5 },
          label: { formatter: line.label, position: 'insideEndTop', color: look.text, fontSize: 12 },
        })),
      };
    }
    return option;
  };

  const tip = (chart) => (given) => {
    const one = Array.isArray(given) ? given[0] : given;
    const series = chart.series[one.seriesIndex];
    const box = document.createElement('div');
    box.className = 'chart-tip';
    const add = (text, tag = 'div') => {
      const line = document.createElement(tag);
      line.textContent = text;
      box.append(line);
    };
    add(cut(series.name, 90), 'strong');
    const point = series.points[one.dataIndex];
    if (!point) return box;
    const value = (axis, raw) => said(axis, scaled(axis, raw));
    add(`${chart.x.label}: ${value(chart.x, point[0])}`);
    if (series.shape === 'heat') {
      add(`${chart.y.label}: ${value(chart.y, point[1])}`);
      add(`${chart.z.label}: ${value(chart.z, point[2])}`);
    } else if (series.shape === 'interval') {
      add(`${chart.y.label}: ${value(chart.y, point[1])} (${value(chart.y, point[2])} to ${value(chart.y, point[3])})`);
    } else {
      add(`${chart.y.label}: ${value(chart.y, point[1])}`);
    }
    const label = series.labels[one.dataIndex];
    if (label) add(label);
    return box;
  };

  const optionOf = (chart, palette, dark, width) => {
    const look = looks(palette, dark);
    const intervals = chart.series.filter((series) => series.shape === 'interval');
    const series = chart.series.map((one) => seriesOption(chart, look, one, intervals));
    Object.assign(series[0], marks(chart, look));
    const narrow = width < 520;
    const [across, down] = chart.across ? ['y', 'x'] : ['x', 'y'];
    const heat = chart.series.some((one) => one.shape === 'heat');
    const option = {
      animation: false,
      backgroundColor: 'transparent',
      textStyle: { fontFamily: 'system-ui, sans-serif', color: look.text },
      // The page has a legend of its own; ECharts' one only turns series on and off.
      legend: { show: false, data: chart.series.map((one) => one.name) },
      grid: { left: 8, right: 20, top: 34, bottom: heat ? 78 : 30, containLabel: true },
      xAxis: axisOption(chart, across, look, narrow),
      yAxis: axisOption(chart, down, look, narrow),
      tooltip: {
        trigger: 'item',
        confine: true,
        backgroundColor: look.background,
        borderColor: look.grid,
        textStyle: { color: look.text, fontSize: 13 },
        formatter: tip(chart),
      },
      aria: { enabled: true, label: { enabled: true, description: `${chart.title}. ${chart.question}` } },
      series,
    };
    if (chart.series.filter((one) => one.shape === 'bar').length > 1) option.aria.decal = { show: true };
    if (heat) {
      const values = chart.series.flatMap((one) => one.points.map((p) => p[2])).filter((value) => value !== null);
      option.visualMap = {
        type: 'continuous',
        min: scaled(chart.z, Math.min(...values)),
        max: scaled(chart.z, Math.max(...values)),
        orient: 'horizontal',
        left: 'center',
        bottom: 0,
        itemWidth: 12,
        itemHeight: 140,
        text: [titled(chart.z), ''],
        textStyle: { color: look.soft },
        formatter: number,
        inRange: { color: look.heat },
        calculable: false,
      };
    }
    return option;
  };

  const heightOf = (chart) => {
    if (chart.series.some((one) => one.shape === 'heat')) return 150 + 34 * Math.max(chart.y.categories.length, 4);
    if (chart.across) {
      const bars = chart.series.filter((one) => one.shape !== 'interval').length;
      return 90 + Math.max(chart.x.categories.length, 2) * Math.max(26, 14 * Math.max(bars, 1));
    }
    return 340;
  };

  // --- The legend ---------------------------------------------------------------------------

  const SHAPES = {
    circle: ['circle', { cx: 8, cy: 6, r: 4 }],
    rect: ['rect', { x: 4, y: 2, width: 8, height: 8 }],
    roundRect: ['rect', { x: 4, y: 2, width: 8, height: 8, rx: 2.5 }],
    triangle: ['path', { d: 'M8 1.5 12.5 10.5H3.5Z' }],
    diamond: ['path', { d: 'M8 1 13 6 8 11 3 6Z' }],
    pin: ['path', { d: 'M8 11 4.5 5.5A3.6 3.6 0 1 1 11.5 5.5Z' }],
    arrow: ['path', { d: 'M8 1 12 11 8 8.5 4 11Z' }],
  };
  const element = (tag, attributes) => {
    const made = document.createElementNS(SVG, tag);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    return made;
  };
  const swatch = (look, series) => {
    const color = colorOf(look, series);
    const icon = element('svg', { width: 16, height: 12, viewBox: '0 0 16 12', 'aria-hidden': 'true' });
    if (series.shape === 'line' || series.shape === 'step') {
      const dashes = { solid: '', dashed: '4 3', dotted: '1.5 2.5' }[series.style];
      icon.append(element('path', { d: 'M0 6H16', stroke: color, 'stroke-width': 2, 'stroke-dasharray': dashes }));
    }
    const [tag, attributes] = series.shape === 'bar' ? SHAPES.rect : (SHAPES[markOf(look, series)] ?? SHAPES.circle);
    icon.append(element(tag, { ...attributes, fill: color }));
    return icon;
  };
  const legend = (place, chart, picture, look) => {
    place.replaceChildren();
    // Bands have no label in the picture, so that narrow ones do not write over each other.
    const bands = new Map(chart.bands.map((band) => [`${band.role} ${band.label}`, band]));
    if (chart.series.length < 2 && !bands.size) return;
    for (const series of chart.series) {
      const item = document.createElement('li');
      const button = document.createElement('button');
      button.type = 'button';
      button.setAttribute('aria-pressed', 'true');
      button.title = 'Show or hide';
      button.append(swatch(look, series), series.name);
      button.addEventListener('click', () => {
        const on = button.getAttribute('aria-pressed') !== 'true';
        button.setAttribute('aria-pressed', String(on));
        picture.dispatchAction({ type: on ? 'legendSelect' : 'legendUnSelect', name: series.name });
      });
      item.append(button);
      place.append(item);
    }
    for (const band of bands.values()) {
      const item = document.createElement('li');
      const icon = element('svg', { width: 16, height: 12, viewBox: '0 0 16 12', 'aria-hidden': 'true' });
      icon.append(element('rect', { width: 16, height: 12, fill: look.roles[band.role] ?? look.roles.own, opacity: 0.4 }));
      const label = document.createElement('span');
      label.append(icon, band.label);
      item.append(label);
      place.append(item);
    }
  };

  // --- The page -----------------------------------------------------------------------------

  // A chart that the browser did not draw in full says so: its table stands below.
  const check = (place, chart, picture) => {
    const model = picture.getModel();
    let found = 0;
    model.eachSeries((series) => {
      const data = series.getData();
      const lineOnly = series.subType === 'line' && series.get('symbol') === 'none';
      for (let index = 0; index < data.count(); index++) {
        if (lineOnly ? !Number.isNaN(data.get('y', index)) : data.getItemGraphicEl(index)) found++;
      }
    });
    place.dataset.drawn = String(found);
    place.dataset.series = String(picture.getModel().getSeriesCount());
    const wanted = chart.series.reduce((sum, one) => {
      const at = one.shape === 'heat' ? 2 : 1;
      return sum + one.points.filter((point) => point[at] !== null).length;
    }, 0);
    place.dataset.points = String(wanted);
    if (found < wanted) failed(place, `${wanted - found} of ${wanted} points could not be drawn`);
  };
  const failed = (place, why) => {
    const line = document.createElement('p');
    line.className = 'missing';
    line.textContent = `${why}; the table below has all values.`;
    place.after(line);
  };

  const draw = (place, chart, palette, dark = isDark(), width = place.clientWidth) => {
    const before = drawn.get(place);
    before?.picture.dispose();
    place.style.height = `${heightOf(chart)}px`;
    const picture = window.echarts.init(place, null, { renderer: 'svg', width: width || PRINT_WIDTH, height: heightOf(chart) });
    picture.setOption(optionOf(chart, palette, dark, width));
    drawn.set(place, { chart, palette, picture, width });
    const list = place.parentElement.querySelector('.legend');
    if (list) legend(list, chart, picture, looks(palette, dark));
    place.setAttribute('role', 'img');
    if (!before) check(place, chart, picture);
    return picture;
  };

  const again = (dark, width) => {
    for (const [place, { chart, palette }] of drawn) {
      // Where the page was changed below it, it is gone.
      if (place.isConnected) draw(place, chart, palette, dark, width);
      else drawn.delete(place);
    }
  };

  const drawAll = (root = document) => {
    const data = root.querySelector('#charts-data') ?? document.querySelector('#charts-data');
    const places = [...root.querySelectorAll('[data-chart]')].filter((place) => !drawn.has(place));
    if (!data || !places.length) return;
    if (!window.echarts) {
      places.forEach((place) => failed(place, 'This browser could not unpack what draws the chart'));
      return;
    }
    const { palette, charts } = JSON.parse(data.textContent);
    const byId = new Map(charts.map((chart) => [chart.id, chart]));
    for (const place of places) {
      const chart = byId.get(place.dataset.chart);
      if (!chart || chart.missing) continue;
      try {
        draw(place, chart, palette);
      } catch (error) {
        failed(place, `This chart could not be drawn (${error.message})`);
      }
      watcher.observe(place);
    }
    document.documentElement.dataset.charts = 'drawn';
  };

  const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const one = drawn.get(target);
      if (!one || !target.clientWidth || Math.abs(target.clientWidth - one.width) < 2 || printing) continue;
      draw(target, one.chart, one.palette);
    }
  });
  let printing = false;
  addEventListener('beforeprint', () => {
    printing = true;
    again(false, PRINT_WIDTH);
  });
  addEventListener('afterprint', () => {
    printing = false;
    again();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => again());
  new MutationObserver(() => again()).observe(document.documentElement, { attributeFilter: ['data-theme'] });

  window.llmbenchCharts = { draw, drawAll };
  const start = () => Promise.resolve(window.llmbenchLibrary).finally(() => drawAll());
  if (document.readyState === 'loading') addEventListener('DOMContentLoaded', start);
  else start();
})();
