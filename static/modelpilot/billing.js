// Buying, redeeming and budgets, by the API's own routes.

import { call } from "./api.js";
import { toast } from "./toast.js";

const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });

// One at a time: a second click must not make a second checkout.
async function sending(form, act) {
  const button = form.querySelector("button.button:not([type])");
  button.disabled = true;
  try {
    await act();
  } catch (error) {
    toast(error.message, "bad");
    button.disabled = false;
  }
}

const buying = document.querySelector("[data-buy]");
if (buying) {
  const { amount } = buying.elements;
  const say = (name, value) => {
    const place = buying.querySelector(`[data-sum="${name}"]`);
    if (place) place.textContent = dollars.format(value);
  };
  const show = () => {
    const pay = Number(amount.value) || 0;
    const bonus = Math.floor(pay * Number(buying.dataset.bonus)) / 100;
    say("pay", pay);
    say("bonus", bonus);
    say("get", pay + bonus);
    for (const preset of buying.querySelectorAll("[data-amount]"))
      preset.setAttribute("aria-pressed", Number(preset.dataset.amount) === pay);
  };
  amount.addEventListener("input", show);
  buying.addEventListener("click", (event) => {
    const preset = event.target.closest("[data-amount]");
    if (!preset) return;
    amount.value = preset.dataset.amount;
    show();
  });
  buying.addEventListener("submit", (event) => {
    event.preventDefault();
    sending(buying, async () => {
      const purchase = await call("billing/checkout", {
        method: "POST",
        body: { amount: Number(amount.value) },
      });
      location.assign(purchase.url);
    });
  });
  // Back from the payment without having paid: the browser may show the page as it was left.
  addEventListener("pageshow", () => {
    buying.querySelector("button.button:not([type])").disabled = false;
    show();
  });
}

const redeeming = document.querySelector("[data-redeem]");
redeeming.addEventListener("submit", (event) => {
  event.preventDefault();
  sending(redeeming, async () => {
    const code = redeeming.elements.code.value;
    await call("billing/redeem", { method: "POST", body: { code } });
    location.assign(location.pathname);
  });
});

const budgeting = document.querySelector("[data-budgets]");
budgeting.addEventListener("submit", (event) => {
  event.preventDefault();
  sending(budgeting, async () => {
    const { day, month, soft, low } = budgeting.elements;
    const number = (input) => (input.value === "" ? null : Number(input.value));
    const put = (path, body) => call(path, { method: "PUT", body });
    for (const cap of [day, month])
      await put("budgets", { period: cap.name, cap: number(cap), soft_percent: number(cap) === null ? null : number(soft) });
    await put("budgets/low_balance", { threshold: number(low) });
    location.reload();
  });
});
