"use strict";

const form = document.querySelector("form");
const status = document.querySelector("[role=status]");
const invitation = location.hash.slice(1);

// The link works once, and need not stay in the browser's history.
history.replaceState(null, "", location.pathname);
if (!invitation) {
  form.hidden = true;
  status.textContent = "Open the link as it was printed, with everything behind the #.";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  status.textContent = "One moment…";
  const fields = Object.fromEntries(new FormData(form));
  try {
    const answer = await fetch("/api/v1/auth/register", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...fields, invitation }),
    });
    const body = await answer.json();
    form.hidden = answer.ok;
    status.textContent = answer.ok ? `${body.user.username} is the administrator of this bank.` : body.detail;
  } catch {
    status.textContent = "The bank does not answer. Is it still running?";
  }
});
