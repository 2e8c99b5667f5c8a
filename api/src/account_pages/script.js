"use strict";

const form = document.querySelector("form");
const status = document.querySelector("[role=status]");
const page = location.pathname.split("/").pop();
const given = new URLSearchParams(location.hash.slice(1));

const FAULTS = {
  provider_unavailable: "The provider does not answer as it should. Try again later.",
  login_refused: "The login was not completed at the provider.",
  login_unknown: "This login was begun in another browser, or too long ago. Log in again.",
  login_not_confirmed: "The provider's answer could not be confirmed. Log in again.",
  email_not_allowed: "Your email address is not of a domain that this bank lets in.",
};

// What works once need not stay in the browser's history.
history.replaceState(null, "", location.pathname);

async function post(path, body) {
  // The bank may live below a path; this page is one folder below its root.
  const answer = await fetch(`../api/v1/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  const said = text ? JSON.parse(text) : {};
  if (!answer.ok) {
    throw new Error(said.errors?.map((error) => `${error.path} ${error.message}`).join(", ") ?? said.detail);
  }
  return said;
}

async function attempt(work) {
  status.textContent = "One moment…";
  try {
    status.textContent = await work();
  } catch (error) {
    status.textContent = error.message || "The bank does not answer.";
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const password = new FormData(form).get("password");
  attempt(async () => {
    await post("auth/password-reset/confirm", { token: given.get("token"), password });
    form.hidden = true;
    return "The password is set, and all sessions have ended. Log in with the new password.";
  });
});

if (given.has("error")) {
  status.textContent = FAULTS[given.get("error")] ?? FAULTS.login_not_confirmed;
} else if (!given.has("token") && !given.has("code")) {
  status.textContent = "Open the link as it came, with everything behind the #.";
} else if (page === "reset-password") {
  form.hidden = false;
} else if (page === "verify-email") {
  attempt(async () => {
    await post("auth/verify-email", { token: given.get("token") });
    return "Your email address is verified.";
  });
} else {
  attempt(async () => {
    const session = await post("auth/oidc/exchange", { code: given.get("code") });
    await post("auth/cookie", { refresh_token: session.refresh_token });
    return `You are logged in as ${session.user.username}.`;
  });
}
