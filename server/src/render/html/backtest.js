const charts = (raws, id) => raws.map(raw => new Chart(raw, document.getElementById(id)));
document.getElementById('worst').hidden = !data.moments.length;
const moments = charts(data.moments, 'moments'), drawn = charts(data.charts, 'charts');
const all = () => { for (const chart of [...moments, ...drawn]) chart.draw(); };
addEventListener('resize', all);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', all);
addEventListener('beforeprint', all);
all();

function open(row) {
  const chart = drawn[row.dataset.chart];
  chart.canvas.scrollIntoView({ behavior: 'smooth', block: 'center' });
  chart.canvas.focus({ preventScroll: true });
}
for (const row of document.querySelectorAll('tr[data-chart]')) {
  row.addEventListener('click', () => open(row));
  row.addEventListener('keydown', event => { if (event.key === 'Enter') open(row); });
}
