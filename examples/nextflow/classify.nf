// A process for Nextflow (DSL2): one sample, the whole pipe in one task.
// NOT RUN by the tests of this repository.
process VN_CLASSIFY {
    tag "$sample"
    // Nextflow's own default shell has no pipefail
    shell '/bin/bash', '-euo', 'pipefail'
    // 75: device busy or out of its memory, worth another try
    errorStrategy { task.exitStatus == 75 ? 'retry' : 'terminate' }
    maxRetries 3
    cpus 2

    input:
    tuple val(sample), path(reads)
    path model
    path head

    output:
    tuple val(sample), path("${sample}.tsv"), emit: calls
    path "versions.yml", emit: versions

    script:
    """
    vn-pack -m $model $reads \\
        | vn-embed -m $model -t ${task.cpus} --pool mean \\
        | vn-classify -m $head -o ${sample}.tsv

    printf '"%s":\\n    vn: %s\\n' "${task.process}" "\$(vn-classify --version | cut -d ' ' -f 2)" > versions.yml
    """
}
