// An error of a call, with its details.

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, HelpSchema, RequestInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb";
import { SettingError } from "./form";
import { button, el } from "./dom";

/** As gRPC spells it: INVALID_ARGUMENT. */
function codeName(code: Code): string {
  return (Code[code] ?? String(code)).replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

function facts(error: ConnectError): [string, string][] {
  const rows: [string, string][] = [];
  for (const info of error.findDetails(BadRequestSchema)) {
    for (const it of info.fieldViolations) rows.push([it.field, it.description]);
  }
  for (const retry of error.findDetails(RetryInfoSchema)) {
    const delay = retry.retryDelay;
    if (delay) rows.push(["retry after", `${Number(delay.seconds) + delay.nanos / 1e9} s`]);
  }
  for (const info of error.findDetails(ErrorInfoSchema)) rows.push(...Object.entries(info.metadata));
  for (const help of error.findDetails(HelpSchema)) {
    for (const link of help.links) rows.push([link.description, link.url]);
  }
  for (const info of error.findDetails(RequestInfoSchema)) rows.push(["request id", info.requestId]);
  return rows;
}

/** A card that shows the error, and repeats the call where that is offered. */
export function errorCard(thrown: unknown, retry?: () => void): HTMLElement {
  if (thrown instanceof SettingError) {
    return el("div", "error", [el("p", "error-message", [thrown.message])], { role: "alert" });
  }
  const error = ConnectError.from(thrown);
  const reason = error.findDetails(ErrorInfoSchema)[0]?.reason;
  const rows = facts(error).flatMap(([name, text]) => [el("dt", "", [name]), el("dd", "", [text])]);
  return el(
    "div",
    "error",
    [
      el("p", "error-code", [codeName(error.code), reason && el("span", "error-reason", [reason])]),
      el("p", "error-message", [error.rawMessage || "The adapter cannot be reached."]),
      rows.length > 0 && el("dl", "", rows),
      retry && button("Try again", "quiet", retry),
    ],
    { role: "alert" },
  );
}
