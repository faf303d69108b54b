// A member of a consumer group, and a producer, with the fetch of Node 18 and newer alone.
// node member.mjs consume GROUP TOPIC, or: node member.mjs produce TOPIC < FILE
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

const url = process.env.SKIDWAY_URL ?? 'http://127.0.0.1:7070';

// Does the work. A record comes again if this program or the collector dies before it is committed.
async function handle(record) {
  console.log(record.topic, record.partition, record.offset, record.value);
}

async function ask(path, options) {
  const answer = await fetch(url + path, options);
  if (!answer.ok && answer.status !== options.may) throw new Error(await answer.text());
  return answer;
}

async function commit(group, token) {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token }) };
  await ask(`/v1/groups/${group}/commit`, { ...options, may: 409 }); // fenced: what has moved to another member is read there again
}

async function consume(group, topic) {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), 60_000); // a line comes every 15 s at least
  const options = { headers: { accept: 'application/x-ndjson' }, signal: silence.signal };
  const answer = await ask(`/v1/groups/${group}/records?topics=${topic}&tokens=true`, options);
  let [rest, done] = ['', 0];
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    timer.refresh();
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    for (const line of lines.map(JSON.parse)) {
      if (line.error) throw new Error(JSON.stringify(line.error));
      const isRecord = 'offset' in line;
      if (isRecord) done += 1, await handle(line);
      if (done === 100 || (done && !isRecord)) done = 0, await commit(group, line.next); // or with a control line
    }
  }
}

async function patiently(work) {
  for (;;) {
    try { return await work(); } catch (error) { console.error('trying again soon:', error.message); }
    await sleep(1000 + 2000 * Math.random()); // not all clients at once
  }
}

const [what, ...names] = process.argv.slice(2);
while (what === 'consume') await patiently(() => consume(...names));
const lines = (await process.stdin.setEncoding('utf8').toArray()).join('').match(/.*\n|.+$/g) ?? [];
const producer = { 'content-type': 'text/plain', 'producer-id': randomUUID(), 'producer-epoch': '0' };
for (let seq = 0; seq < lines.length; seq += 1000) {
  const headers = { ...producer, 'producer-seq': `${seq}` }; // sent again, a request is stored once
  const options = { method: 'POST', headers, body: lines.slice(seq, seq + 1000).join('') };
  await patiently(() => ask(`/v1/topics/${names[0]}/records`, options));
}
