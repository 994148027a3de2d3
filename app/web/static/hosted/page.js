// Shows the widget, and hands the token back as soon as there is one: in the body of a form, or behind the # of the address.

const SLOW = 4000; // Milliseconds: then the person may go on by hand.
const of = (id) => document.getElementById(id);
const form = of("return");

form.addEventListener("submit", (event) => {
  if (form.dataset.mode !== "fragment") return;
  event.preventDefault();
  location.replace(`${form.action}#${new URLSearchParams(new FormData(form, event.submitter))}`);
});

// The second click of a double click is none: the button for going back moves with the card.
form.addEventListener("click", (event) => event.detail > 1 && event.preventDefault(), true);

form.addEventListener("verified", () => {
  of("cancel").hidden = true;
  of("returning").hidden = false;
  setTimeout(() => (of("continue").hidden = false), SLOW);
  form.requestSubmit(of("continue"));
});

// Last, and from here: no one verifies a phone whose token would go nowhere.
await import("/widget/phone-verify.js");
