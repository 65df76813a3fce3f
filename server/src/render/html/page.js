const holder = document.getElementById('charts');
const drawn = data.map(raw => new Chart(raw, holder));
const all = () => drawn.forEach(chart => chart.draw());
addEventListener('resize', all);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', all);
all();

function open(row) {
  const chart = drawn[row.dataset.chart], first = +row.dataset.first, last = +row.dataset.last;
  const room = Math.max(60, (last - first) * 3);
  chart.zoom(first - room, last + room);
  chart.canvas.scrollIntoView({ behavior: 'smooth', block: 'center' });
}
for (const row of document.querySelectorAll('tr[data-chart]')) {
  row.addEventListener('click', () => open(row));
  row.addEventListener('keydown', event => { if (event.key === 'Enter') open(row); });
}
