// Compiled by the tests, never run: the declarations fit how the page of docs/widget.md uses them.
import { createClient, LastdigitsError, type Approved } from "../lastdigits.js";
import { createVerification, type VerificationState } from "../machine.js";

const client = createClient({ baseUrl: "https://verify.example", key: "pk_1", storage: sessionStorage });

export async function verify(phone: string, code: string): Promise<Approved | string> {
  try {
    const { id } = await client.start({ phone, purpose: "login" });
    return await client.check({ id, code });
  } catch (error) {
    return error instanceof LastdigitsError ? `${error.code} ${error.retryAfter ?? 0}` : "defect";
  }
}

const verification = createVerification(client, { storage: sessionStorage, devices: localStorage });
verification.subscribe((state: VerificationState) => console.log(state.step, state.problem?.code));
// @ts-expect-error a step that there is not
export const never: boolean = verification.state.step === "called";
