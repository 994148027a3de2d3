// The lines to paste: each is a whole page or component.

/** What the hosted page is opened with, in this sandbox. */
export const hostedQuery = ({ origin, key, language }) => ({ client_key: key, return_url: `${origin}/demo/returned`, state: "order-17", purpose: "demo", lang: language });

export const SNIPPETS = {
  HTML: ({ origin, key, integrity }) => `<script type="module" crossorigin
  src="${origin}/widget/phone-verify.js"
  integrity="${integrity}"></script>

<form action="/login" method="post">
  <phone-verify client-key="${key}" name="phone_token" purpose="login" required></phone-verify>
  <button>Continue</button>
</form>`,
  React: ({ origin, key }) => `// index.html: <script type="module" src="${origin}/widget/phone-verify.js"></script>

export function VerifyPhone({ onToken }) {
  return <phone-verify client-key="${key}" purpose="login"
    onverified={(event) => onToken(event.detail.token)} />
}`,
  Vue: ({ origin, key }) => `<!-- index.html: <script type="module" src="${origin}/widget/phone-verify.js"></script>
     vite.config.js: vue({ template: { compilerOptions: { isCustomElement: (tag) => tag === "phone-verify" } } }) -->
<template>
  <phone-verify client-key="${key}" purpose="login" @verified="$emit('token', $event.detail.token)" />
</template>`,
  Link: (context) => `<a href="${context.origin}/verify?${new URLSearchParams(hostedQuery(context))}">Confirm your phone</a>`,
  curl: ({ origin, key }) => `curl ${origin}/verify/start \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d '{"phone": "+7 999 123-45-67", "purpose": "login"}'

curl ${origin}/verify/check \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d '{"id": "vrf_…", "code": "1234"}'`,
};
