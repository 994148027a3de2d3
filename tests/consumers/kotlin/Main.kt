fun main(arguments: Array<String>) {
    val (url, key, command, first, second) = arguments
    val verify = Verify(url, key)
    println(
        try {
            if (command == "start") verify.start(first, second).getString("id") else verify.check(first, second).getString("phone")
        } catch (refused: Refused) {
            refused.message
        },
    )
}
