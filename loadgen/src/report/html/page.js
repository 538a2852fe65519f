
// The theme: that of the system until the reader chooses.
(() => {
  const button = document.getElementById('theme');
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme || (dark.matches ? 'dark' : 'light')) === 'dark';
  const name = () => { button.textContent = isDark() ? 'Light' : 'Dark'; };
  button.hidden = false;
  button.addEventListener('click', () => { root.dataset.theme = isDark() ? 'light' : 'dark'; name(); });
  dark.addEventListener('change', name);
  name();
})();

// On paper nothing can be opened, so all figures are.
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details')) details.open = true;
});

// The calculator.
(() => {
  const form = document.querySelector('form.calculator');
  if (!form) return;
  const costs = JSON.parse(form.dataset.costs), traffic = JSON.parse(form.dataset.traffic);
  const thin = '\u202f';
  const count = (value) => Math.round(value).toLocaleString('en-US');
  const digits = (value) => value >= 1000 ? count(value) : value >= 99.95 || value === 0
    ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
  const scaled = (value, units) => {
    const [size, name] = units.find(([least]) => value >= 0.9995 * least) || units[units.length - 1];
    return size === 1 ? `${count(value)}${name && thin + name}`
      : `${digits(value / size)}${thin}${name}`;
  };
  const percent = (share) => {
    const value = 100 * share;
    return (value === 0 ? '0' : value >= 999.5 ? count(value) : value >= 9.95 ? value.toFixed(0) : value >= 0.995 ? value.toFixed(1)
      : value >= 0.0995 ? value.toFixed(2).replace(/0+$/, '')
      : value >= 0.0005 ? value.toFixed(3).replace(/0+$/, '') : '< 0.001') + thin + '%';
  };
  const show = () => {
    const value = (name) => {
      const number = Number.parseFloat(form.elements[name].value);
      return Number.isFinite(number) && number > 0 ? number : 0;
    };
    const mix = {
      audio: { rooms: value('audio.rooms'), size: value('audio.size'),
        speakers: value('audio.speakers') },
      meeting: { rooms: value('meeting.rooms'), size: value('meeting.size'),
        tiles: value('meeting.tiles') },
      livestream: { rooms: value('livestream.rooms'), viewers: value('livestream.viewers') },
    };
    const machine = { vcpus: Math.max(1, Math.floor(value('machine.vcpus'))),
      memory_bytes: value('machine.memory_gb') * 1e9, link_bps: value('machine.link_gbps') * 1e9 };
    const wanted = load(mix, costs, traffic), share = shares(wanted, machine, costs);
    const fits = share.worst <= 1;
    document.getElementById('outcome').className = fits ? 'outcome fits' : 'outcome full';
    document.getElementById('verdict').textContent = fits ? 'Fits.' : 'Does not fit.';
    document.getElementById('summary').textContent = `${count(wanted.participants)} people, `
      + `${scaled(wanted.packets_per_s, [[1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']])} packets/s, `
      + scaled(wanted.bits_per_s, [[1e9, 'Gbit/s'], [1e6, 'Mbit/s'], [1e3, 'kbit/s'], [1, 'bit/s']]);
    for (const meter of document.querySelectorAll('[data-share]')) {
      const part = share[meter.dataset.share], fill = meter.querySelector('.fill');
      fill.style.width = `${100 * Math.min(1, part)}%`;
      fill.className = part > 1 ? 'fill over' : 'fill';
      meter.className = part === share.worst ? 'worst' : '';
      meter.querySelector('output').textContent = Number.isFinite(part) ? percent(part) : '–';
    }
  };
  form.addEventListener('input', show);
  form.addEventListener('submit', (event) => event.preventDefault());
})();
