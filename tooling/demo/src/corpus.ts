import type { Random } from '@q/core';

/**
 * Short stories about people, things and places. A story keeps track of persons' places and things and of the numbers
 * of things. So a model that predicts it well has learned names, pronouns, agreement and small sums.
 */
interface Person {
  readonly name: string;
  readonly pronoun: 'he' | 'she';
}

const people: readonly Person[] = [
  ...['Anna', 'Mira', 'Greta', 'Ida', 'Lotte', 'Nora', 'Petra', 'Rosa'].map((name) => ({
    name,
    pronoun: 'she' as const,
  })),
  ...['Aron', 'Bela', 'Emil', 'Hugo', 'Jonas', 'Karl', 'Otto', 'Theo'].map((name) => ({
    name,
    pronoun: 'he' as const,
  })),
];
const animals = ['goat', 'heron', 'otter', 'donkey', 'hedgehog', 'swallow', 'badger', 'hen'];
const things = ['lantern', 'basket', 'kite', 'drum', 'ladder', 'rope', 'kettle', 'blanket', 'wheel', 'flute'];
const colours = ['red', 'blue', 'green', 'yellow', 'grey', 'white'];
const materials = ['wooden', 'copper', 'woollen', 'paper', 'old', 'tiny'];
const places = ['mill', 'harbour', 'orchard', 'bridge', 'barn', 'market', 'quarry', 'lighthouse'];
const fruit = ['plums', 'pears', 'walnuts', 'cherries', 'quinces', 'apples'];
const weathers = ['rain', 'fog', 'snow', 'wind', 'thunder'];
const feelings = ['glad', 'tired', 'curious', 'proud', 'worried', 'quiet'];
const numbers = [
  'zero',
  'one',
  'two',
  'three',
  'four',
  'five',
  'six',
  'seven',
  'eight',
  'nine',
  'ten',
  'eleven',
  'twelve',
];

const capital = (text: string) => text[0].toUpperCase() + text.slice(1);
const article = (noun: string) => `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`;

/** One story of five to nine sentences. */
function story(random: Random): string {
  const pick = <T>(from: readonly T[]): T => from[random.integer(from.length)];
  const other = <T>(from: readonly T[], not: T): T => {
    let found = pick(from);
    while (found === not) found = pick(from);
    return found;
  };
  const hero = pick(people);
  const friend = other(people, hero);
  const he = hero.pronoun;
  const his = he === 'he' ? 'his' : 'her';
  const him = he === 'he' ? 'him' : 'her';
  const thing = `${random.integer(2) ? pick(colours) : pick(materials)} ${pick(things)}`;
  const start = pick(places);
  const end = other(places, start);
  const animal = pick(animals);
  const sentences: string[] = [];

  sentences.push(
    pick([
      `${hero.name} lived near the ${start} and had ${article(thing)}.`,
      `One morning ${hero.name} found ${article(thing)} behind the ${start}.`,
      `${hero.name} went to the ${start} with ${article(thing)}.`,
      `Every day ${hero.name} carried ${article(thing)} past the ${start}.`,
    ]),
  );
  const parts = [
    () => {
      const kind = pick(fruit);
      const have = 1 + random.integer(6);
      const more = 1 + random.integer(6);
      return [
        `${capital(he)} had ${numbers[have]} ${have === 1 ? singular(kind) : kind} in ${his} bag.`,
        `${friend.name} gave ${him} ${numbers[more]} more, so now ${he} had ${numbers[have + more]} ${kind}.`,
      ];
    },
    () => {
      const kind = pick(fruit);
      const have = 3 + random.integer(9);
      const less = 1 + random.integer(have - 1);
      const left = have - less;
      return [
        `There were ${numbers[have]} ${kind} on the wall.`,
        `The ${animal} ate ${numbers[less]}, and ${left === 1 ? `one ${singular(kind)} was` : `${numbers[left]} ${kind} were`} left.`,
      ];
    },
    () => [
      `On the way ${he} met ${article(animal)}.`,
      pick([
        `The ${animal} looked at the ${thing} and did not move.`,
        `The ${animal} followed ${him} to the ${end}.`,
        `"Is that your ${thing}?" asked the ${animal}.`,
      ]),
    ],
    () => [
      `Then the ${pick(weathers)} came over the ${end}.`,
      `${hero.name} hid under the roof and waited with ${friend.name}.`,
    ],
    () => [
      `"May I hold the ${thing}?" asked ${friend.name}.`,
      pick([
        `"Yes, but be careful," said ${hero.name}.`,
        `"Not today," said ${hero.name}, and ${he} put it away.`,
        `${hero.name} gave the ${thing} to ${friend.name}.`,
      ]),
    ],
    () => [
      `The way from the ${start} to the ${end} was long.`,
      `${capital(he)} was ${pick(feelings)}, but ${he} did not stop.`,
    ],
  ];
  const order = parts.map((part) => ({ part, key: random.uniform() })).sort((a, b) => a.key - b.key);
  for (const { part } of order.slice(0, 2 + random.integer(2))) sentences.push(...part());
  sentences.push(
    pick([
      `In the evening ${hero.name} came home from the ${end} and was ${pick(feelings)}.`,
      `At last ${he} left the ${thing} at the ${end} and went home.`,
      `${hero.name} and ${friend.name} sat by the ${end} until it was dark.`,
      `After that day ${he} never forgot the ${animal} and the ${thing}.`,
    ]),
  );
  return sentences.join(' ');
}

const singular = (plural: string) => (plural.endsWith('ies') ? `${plural.slice(0, -3)}y` : plural.slice(0, -1));

/** Stories one after the other, in the form of documents that the command reads. */
export function corpus(random: Random, stories: number): string {
  return `${Array.from({ length: stories }, () => story(random)).join('\n<|endoftext|>\n')}\n`;
}
