// Values as words: durations, counts, dollars, moments. Pure; nothing here touches the document.

export function duration(us) {
  if (us === null || us === undefined) return "";
  if (us === 0) return "0 s";
  if (us < 1000) return `${us} µs`;
  if (us < 10_000) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 999_500) return `${Math.round(us / 1000)} ms`;
  if (us < 59_950_000) return `${(us / 1e6).toFixed(us < 9_950_000 ? 2 : 1)} s`;
  const seconds = Math.round(us / 1e6);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

export function count(number) {
  return number === null || number === undefined ? "" : Math.round(number).toLocaleString("en-US");
}

export function short(number) {
  if (number === null || number === undefined) return "";
  const size = Math.abs(number);
  if (size < 1000) return Number.isInteger(number) ? String(number) : number.toPrecision(3).replace(/\.?0+$/, "");
  if (size < 1e6) return `${(number / 1e3).toFixed(size < 1e4 ? 1 : 0).replace(/\.0$/, "")}k`;
  if (size < 1e9) return `${(number / 1e6).toFixed(size < 1e7 ? 1 : 0).replace(/\.0$/, "")}M`;
  return `${(number / 1e9).toFixed(1).replace(/\.0$/, "")}G`;
}

export function cost(dollars) {
  if (dollars === null || dollars === undefined) return "";
  if (dollars === 0) return "$0";
  if (dollars < 0.0001) return "< $0.0001";
  return dollars >= 1 ? `$${dollars.toFixed(2)}` : `$${dollars.toPrecision(2)}`;
}

export function span(us) {
  if (us < 1e6) return us ? `${Math.round(us / 1000)} ms` : "0";
  if (us < 120e6) return `${+(us / 1e6).toPrecision(3)} s`;
  return us < 7200e6 ? `${+(us / 60e6).toPrecision(3)} min` : `${+(us / 3600e6).toPrecision(3)} h`;
}

export function bytes(size) {
  if (size < 1024) return `${size} B`;
  const units = ["KB", "MB", "GB", "TB"];
  let unit = -1;
  do { size /= 1024; unit += 1; } while (size >= 1024 && unit < units.length - 1);
  return `${size.toFixed(size < 10 ? 1 : 0)} ${units[unit]}`;
}

export function ago(us, now) {
  if (us === null || us === undefined) return "";
  const seconds = (now - us) / 1e6;
  if (seconds < -60 || !Number.isFinite(seconds)) return moment(us);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  if (seconds < 7 * 86400) return `${Math.round(seconds / 86400)} d ago`;
  return new Date(us / 1000).toLocaleDateString("en-CA");
}

export function moment(us) {
  if (us === null || us === undefined) return "";
  const date = new Date(us / 1000);
  if (Number.isNaN(date.getTime())) return "?";
  const pad = (number, width = 2) => String(number).padStart(width, "0");
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ` +
    `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

export function tokensOf(run) {
  const tokens = run.tokens;
  if (!tokens) return null;
  if (tokens.total !== undefined) return tokens.total;
  if (tokens.prompt === undefined && tokens.completion === undefined) return null;
  return (tokens.prompt || 0) + (tokens.completion || 0);
}

export function title(run) {
  return run.name || (run.type === "chat" ? "exchange" : run.type) || "run";
}

export function plural(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many || one + "s"}`;
}
