// pg-transactional-outbox as its README shows it: messages are stored in the inbox table, and a
// polling listener hands them to the handler in the transaction that marks them as processed.
//
// Reads one JSON object a line, and answers each with one: an order is stored; `{"drive": …}` runs
// for a while and counts. `PEER` holds how the handler behaves.
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';

import pg from 'pg';
import outbox from 'pg-transactional-outbox';

const behaviour = JSON.parse(process.env.PEER);
const connection = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  database: process.env.PGDATABASE,
  user: process.env.PGUSER,
  max: behaviour.workers,
};
const config = {
  outboxOrInbox: 'inbox',
  dbHandlerConfig: connection,
  dbListenerConfig: connection,
  settings: {
    dbSchema: 'public',
    dbTable: 'inbox',
    enableMaxAttemptsProtection: true,
    enablePoisonousMessageProtection: true,
    nextMessagesFunctionName: 'next_inbox_messages',
    nextMessagesPollingIntervalInMs: 250,
    // Its default is 5; this is how many messages it works on at once.
    nextMessagesBatchSize: behaviour.workers,
  },
};

const logger = outbox.getDisabledLogger();
const pool = new pg.Pool(connection);
const store = outbox.initializeMessageStorage(config, logger);

let handled = () => {};
const handler = {
  aggregateType: 'order',
  messageType: 'order_placed',
  handle: async ({ payload }, client) => {
    await client.query('insert into orders (order_id, email, cents) values ($1, $2, $3)', [
      payload.order_id,
      payload.email,
      payload.cents,
    ]);
    if (behaviour.counts) {
      const { rows } = await client.query("select nextval('runs')");
      if (behaviour.swallows && Number(rows[0].nextval) === 1) {
        await client.query('select 1 / 0').catch(() => {});
      }
    }
    if (behaviour.pause_ms > 0) {
      await new Promise((resolve) => setTimeout(resolve, behaviour.pause_ms));
    }
    if (behaviour.dies) {
      process.kill(process.pid, 'SIGKILL');
      await new Promise(() => {});
    }
    handled();
  },
};

if (behaviour.setup) {
  const names = { outboxOrInbox: 'inbox', schema: 'public', table: 'inbox' };
  const setup = outbox.DatabaseSetup;
  await pool.query(setup.dropAndCreateTable(names));
  await pool.query(
    setup.createPollingFunction({ ...names, nextMessagesName: 'next_inbox_messages' }),
  );
  await pool.query(setup.setupPollingIndexes(names));
}

const [shutdown] = outbox.initializePollingMessageListener(config, [handler], logger);

async function receive(id, order) {
  await outbox.executeTransaction(
    await pool.connect(),
    async (client) => {
      await store(
        {
          id,
          aggregateType: 'order',
          messageType: 'order_placed',
          aggregateId: String(order.order_id),
          concurrency: 'parallel',
          payload: order,
          createdAt: new Date().toISOString(),
        },
        client,
      );
    },
    outbox.IsolationLevel.ReadCommitted,
  );
}

/** Stores messages as long as the listener keeps up with them, and counts what it has processed. */
async function drive({ seconds, warm_up }) {
  const backlog = BACKLOG * behaviour.workers;
  let waiting = 0;
  let running = true;
  let wake = [];
  handled = () => {
    waiting -= 1;
    wake.shift()?.();
  };
  const feeders = Array.from({ length: behaviour.workers }, async (_, feeder) => {
    for (let index = 0; running; index += 1) {
      if (waiting >= backlog) {
        await new Promise((resolve) => wake.push(resolve));
        continue;
      }
      waiting += 1;
      const number = feeder * 1e9 + index;
      const email = `customer${String(number % 1000).padStart(3, '0')}@example.com`;
      await receive(randomUUID(), { order_id: number, email, cents: 1990 });
    }
  });
  const now = async () => (await pool.query('select clock_timestamp()::text')).rows[0].clock_timestamp;
  await new Promise((resolve) => setTimeout(resolve, warm_up * 1000));
  const from = await now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const to = await now();
  running = false;
  wake.forEach((resolve) => resolve());
  await Promise.all(feeders);
  const { rows } = await pool.query(
    `select
       count(*)::int as messages,
       count(*) filter (where processed_at >= $1::timestamptz and processed_at < $2::timestamptz)::int
         as measured,
       extract(epoch from $2::timestamptz - $1::timestamptz)::float8 as seconds
     from inbox
     where processed_at is not null`,
    [from, to],
  );
  return rows[0];
}

const BACKLOG = 4;

console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked.drive) {
    console.log(JSON.stringify(await drive(asked.drive)));
  } else {
    await receive(asked.id, asked.order);
    console.log(JSON.stringify({ stored: asked.id }));
  }
}
await shutdown();
await pool.end();
