import { check, start } from './shop'

const [command, first = '', second = ''] = process.argv.slice(2)
try {
  console.log(command === 'start' ? (await start(first, second)).id : (await check(first, second)).phone)
} catch (error) {
  console.log(error instanceof Error ? error.message : error)
}
