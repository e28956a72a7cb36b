// What bullmq_peer.py runs: `queues.js PORT through|later`. Lines on stdout tell it how far we are; it kills the server.
const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { createRequire } = require('module');
// The packages are installed elsewhere: MODULES is the folder with package.json.
const { Queue, Worker, FlowProducer, QueueEvents } = createRequire(path.join(process.env.MODULES, 'package.json'))('bullmq');

const [port, what] = process.argv.slice(2);
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null, retryStrategy: () => 50 };
const short = { lockDuration: 3000, stalledInterval: 500, maxStalledCount: 20, drainDelay: 1 };
const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));
const closers = [];

const opened = (one) => {
  // Connections that break are what this is about.
  one.on('error', () => {});
  closers.push(one);
  return one;
};

function same(have, want, about) {
  const [one, other] = [JSON.stringify(have), JSON.stringify(want)];
  if (one !== other) throw new Error(`${about}: ${one} instead of ${other}`);
}

async function until(about, condition, seconds = 40) {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${about}: not after ${seconds} s`);
    await sleep(50);
  }
}

// How often each job ran to its end in our hands, and in which order they began.
const ran = new Map();
const begun = [];

function work(name, concurrency) {
  return opened(new Worker(name, async (job) => {
    begun.push(job.id);
    await job.updateProgress(50);
    await sleep(15);
    if (job.name === 'fails once' && job.attemptsMade === 0) throw new Error('on purpose');
    let value = job.data.number * 2;
    if (job.name === 'parent') {
      const children = Object.values(await job.getChildrenValues());
      same(children.length, 3, `children of ${job.id}`);
      value = children.reduce((sum, one) => sum + one, 0);
    }
    ran.set(job.id, (ran.get(job.id) || 0) + 1);
    return value;
  }, { connection, concurrency, ...short }));
}

// Queues one of each kind, by identifiers of ours; what each has to return.
async function fill(queue, flows, wanted) {
  const next = (value) => {
    const number = wanted.size;
    wanted.set(`job-${number}`, value === undefined ? number * 2 : value);
    return number;
  };
  const job = (name, opts) => {
    const number = next();
    return { name, data: { number }, opts: { jobId: `job-${number}`, ...opts } };
  };
  const add = ({ name, data, opts }) => queue.add(name, data, opts);
  for (let n = 0; n < 30; n++) await add(job('plain', {}));
  await queue.addBulk(Array.from({ length: 30 }, () => job('plain', {})));
  for (let n = 0; n < 30; n++) await add(job('prioritized', { priority: 1 + ((n * 7) % 10) }));
  for (let n = 0; n < 20; n++) await add(job('delayed', { delay: 200 + n * 100 }));
  for (let n = 0; n < 10; n++) await add(job('fails once', { attempts: 3, backoff: { type: 'fixed', delay: 100 } }));
  for (let n = 0; n < 10; n++) {
    const children = [0, 1, 2].map(() => ({ ...job('child', {}), queueName: queue.name }));
    const sum = children.reduce((all, { data }) => all + data.number * 2, 0);
    const number = next(sum);
    await flows.add({ name: 'parent', queueName: queue.name, data: { number }, opts: { jobId: `job-${number}` }, children });
  }
}

// All is done, and done means that it ran.
async function settled(queue, wanted) {
  await until('all jobs done', async () => {
    const done = (await queue.getCompleted(0, -1)).filter(({ id }) => wanted.has(id));
    for (const { id } of done) if (!ran.has(id)) throw new Error(`${id} is counted as done, but never ran`);
    console.log(`done ${done.length}`);
    return done.length === wanted.size;
  });
  for (const [id, value] of wanted) same((await queue.getJob(id)).returnvalue, value, id);
  const counts = await queue.getJobCounts('failed', 'active', 'wait', 'prioritized', 'waiting-children');
  same(Object.values(counts).reduce((sum, one) => sum + one, 0), 0, `left over in ${JSON.stringify(counts)}`);
}

// The server is killed whenever Python likes to, several times.
async function through() {
  const queue = opened(new Queue('through', { connection }));
  const flows = opened(new FlowProducer({ connection }));
  const events = opened(new QueueEvents('through', { connection, lastEventId: '0-0' }));
  const told = new Set();
  events.on('completed', ({ jobId }) => told.add(jobId));
  await events.waitUntilReady();
  const repeating = opened(new Queue('repeating', { connection }));
  await repeating.upsertJobScheduler('tick', { every: 200 }, { name: 'tick', data: { number: 1 } });
  work('repeating', 1);
  work('through', 4);
  work('through', 4);
  const wanted = new Map();
  // The first kill comes while jobs are still being queued.
  const filling = fill(queue, flows, wanted);
  console.log('done 0');
  await filling;
  await settled(queue, wanted);
  await until('events of all', () => [...wanted.keys()].every((id) => told.has(id)));
  const ticks = () => [...ran.keys()].filter((id) => id.startsWith('repeat:')).length;
  const before = ticks();
  await until('ticks go on', () => ticks() >= before + 3);
  same((await repeating.getJobSchedulers()).map(({ key }) => key), ['tick'], 'schedulers');
  await repeating.removeJobScheduler('tick');
}

// All is queued; then the server is killed; then a worker comes.
async function later() {
  const queue = opened(new Queue('later', { connection }));
  const flows = opened(new FlowProducer({ connection }));
  const repeating = opened(new Queue('later-repeating', { connection }));
  await repeating.upsertJobScheduler('tick', { every: 300 }, { name: 'tick', data: { number: 1 } });
  const wanted = new Map();
  await fill(queue, flows, wanted);
  console.log('queued');
  await new Promise((resolve) => readline.createInterface({ input: process.stdin }).once('line', resolve));
  const counts = await queue.getJobCounts('wait', 'prioritized', 'delayed', 'waiting-children');
  same(counts, { wait: 100, prioritized: 30, delayed: 20, 'waiting-children': 10 }, 'queued');
  const ordered = (await queue.getPrioritized(0, -1)).map(({ id }) => id);
  work('later', 1);
  work('later-repeating', 1);
  await settled(queue, wanted);
  const there = new Set(ordered);
  same(begun.filter((id) => there.has(id)), ordered, 'the order of priorities');
  const priority = (id) => 1 + (((Number(id.slice(4)) - 60) * 7) % 10);
  same(ordered, [...ordered].sort((one, other) => priority(one) - priority(other) || Number(one.slice(4)) - Number(other.slice(4))),
    'first in, first out within a priority');
  await until('ticks', () => [...ran.keys()].filter((id) => id.startsWith('repeat:')).length >= 3);
}

({ through, later })[what]().then(
  () => {
    console.log('well');
    process.exit(0);
  },
  (problem) => {
    fs.writeSync(2, `${problem.stack}\n`);
    process.exit(1);
  },
);
