import assert from "node:assert/strict";
import { test } from "node:test";
import all from "../countries-all.json" with { type: "json" };
import { countriesOf, formatPhone, knows, learn, readPhone, showPhone, toE164 } from "../phone.js";

test("the countries around are known, and others are learned", () => {
  assert.equal(knows("ru, kz"), true);
  assert.equal(knows("RU DE"), false);
  learn(all);
  assert.equal(knows("RU DE"), true);
});

for (const [text, region, allowed, e164, shown] of [
  ["9", "RU", ["RU"], "+79", "9"],
  ["8", "RU", ["RU"], "+7", ""],
  ["7", "RU", ["RU"], "+7", ""],
  ["8999", "RU", ["RU"], "+7999", "999"],
  ["9991234567", "RU", ["RU"], "+79991234567", "999 123-45-67"],
  ["79991234567", "RU", ["RU"], "+79991234567", "999 123-45-67"],
  ["+7 (999) 123-45-67", "RU", ["RU"], "+79991234567", "999 123-45-67"],
  ["0079991234567", "RU", ["RU"], "+79991234567", "999 123-45-67"],
  ["８９９９１２３４５６７", "RU", ["RU"], "+79991234567", "999 123-45-67"],
  ["٨٩٩٩١٢٣٤٥٦٧", "RU", ["RU"], "+79991234567", "999 123-45-67"],
  ["99912345678", "RU", ["RU"], "+799912345678", "999 123-45-678"],
  ["+49 151 12345678", "RU", ["RU"], "+4915112345678", "+4915112345678"],
  ["87011234567", "RU", ["RU", "KZ"], "+77011234567", "701 123 4567"],
  ["7011234567", "RU", ["RU", "KZ"], "+77011234567", "701 123 4567"],
  ["79991234567", "KZ", ["RU", "KZ"], "+79991234567", "999 123-45-67"],
  ["+77011234567", "RU", ["RU", "KZ"], "+77011234567", "701 123 4567"],
  ["+375291234567", "RU", ["RU", "BY"], "+375291234567", "29 123-45-67"],
  ["0151 23456789", "DE", ["DE"], "+4915123456789", "1512 3456789"],
  ["+", "RU", ["RU"], "+", "+"],
  ["+7", "RU", ["RU"], "+7", ""],
  ["+4", "RU", ["RU", "DE"], "+4", "+4"],
  ["+49", "RU", ["RU", "DE"], "+49", ""],
  ["", "RU", ["RU"], "+7", ""],
]) {
  test(`${JSON.stringify(text)} in ${region} is ${e164}`, () => {
    const read = readPhone(text, region, allowed);
    assert.deepEqual([toE164(read), formatPhone(read)], [e164, shown]);
  });
}

test("typing digit by digit ends as pasting at once", () => {
  let text = "";
  let region = "RU";
  for (const key of "+79991234567".slice(2)) {
    const read = readPhone(text + key, region, ["RU", "KZ"]);
    [text, region] = [formatPhone(read), read.region];
  }
  assert.deepEqual([text, region], ["999 123-45-67", "RU"]);
});

test("unknown countries are left out", () => {
  assert.deepEqual(countriesOf("ru, KZ xx,RU"), ["RU", "KZ"]);
  assert.deepEqual(countriesOf(""), ["RU"]);
});

test("a number is shown as its country writes it", () => {
  assert.equal(showPhone("+79991234567", "RU", ["RU"]), "+7 999 123-45-67");
  assert.equal(showPhone("+4915112345678", "RU", ["RU"]), "+4915112345678");
});
