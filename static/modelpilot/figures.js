// Money and time, as the pages write them (see tags.py).

// USD: cents, and further digits where there are any.
export function dollars(amount) {
  const micros = Math.round(Math.abs(amount) * 1e6);
  const digits = String(micros % 1e6).padStart(6, "0").replace(/0{1,4}$/, "");
  return `${amount < 0 ? "-" : ""}$${Math.floor(micros / 1e6).toLocaleString("en-US")}.${digits}`;
}

export function seconds(ms) {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const whole = Math.round(ms / 1000);
  return whole < 120 ? `${whole} s` : `${Math.round(whole / 60)} min`;
}
